/* The agent holds up to four descriptors a process; its children get the limit the kernel gave. */
#ifndef FILES_LIMIT_H
#define FILES_LIMIT_H

void files_limit_raise(void);
/* In a child. */
void files_limit_restore(void);

#endif
