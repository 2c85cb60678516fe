/* What kind of program a file is. The Kata runtimes in Go and in Rust carry the same file name, so the name does
 * not tell; the Go linker leaves a note with its build id (owner "Go", type 4), and we leave one of our own. */

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "wrapper.h"

#define OWNER "kata-toolkit"
#define GO_OWNER "Go\0" /* the Go linker counts the padding */

enum {
    GO_BUILD_ID = 4,    /* the note type of the Go linker */
    WRAPPER_NOTE = 1,   /* ours: "this is a wrapper" */
    PAGE = 4096,        /* program headers of real programs lie in the first page */
};

#define NOTE_ALIGNED(size) (((size_t)(size) + 3) & ~(size_t)3)

/* Found in every wrapper, whatever it is called and wherever it was copied to. */
__attribute__((section(".note." OWNER), used, aligned(4))) static const struct {
    Elf64_Nhdr header;
    char owner[NOTE_ALIGNED(sizeof OWNER)];
} our_note = {{sizeof OWNER, 0, WRAPPER_NOTE}, OWNER};

/* Headers of 64-bit and 32-bit notes are the same three words. */
static enum program kind_in_notes(const char *notes, size_t size)
{
    size_t at = 0;

    while (at + sizeof(Elf64_Nhdr) <= size) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof note);
        at += sizeof note;
        if (note.n_namesz > size - at || note.n_descsz > size)
            break;
        const char *owner = notes + at;
        if (note.n_type == GO_BUILD_ID && note.n_namesz == sizeof GO_OWNER
            && !memcmp(owner, GO_OWNER, sizeof GO_OWNER))
            return PROGRAM_GO;
        if (note.n_type == WRAPPER_NOTE && note.n_namesz == sizeof OWNER && !memcmp(owner, OWNER, sizeof OWNER))
            return PROGRAM_WRAPPER;
        at += NOTE_ALIGNED(note.n_namesz) + NOTE_ALIGNED(note.n_descsz);
        if (at > size)
            break;
    }
    return PROGRAM_OTHER_ELF;
}

static enum program kind_of_elf(int fd, const char *page, size_t size)
{
    Elf64_Ehdr header;

    memcpy(&header, page, sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64)
        return PROGRAM_OTHER_ELF; /* Kata has no 32-bit programs */
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        char notes[PAGE];
        uint64_t at = header.e_phoff + (uint64_t)i * sizeof segment;

        if (at > size || size - at < sizeof segment)
            break;
        memcpy(&segment, page + at, sizeof segment);
        if (segment.p_type != PT_NOTE)
            continue;
        size_t wanted = segment.p_filesz < sizeof notes ? segment.p_filesz : sizeof notes;
        ssize_t n = pread(fd, notes, wanted, (off_t)segment.p_offset);
        enum program kind = n > 0 ? kind_in_notes(notes, (size_t)n) : PROGRAM_OTHER_ELF;
        if (kind != PROGRAM_OTHER_ELF)
            return kind;
    }
    return PROGRAM_OTHER_ELF;
}

enum program program_kind(const char *path)
{
    char page[PAGE];
    enum program kind = PROGRAM_UNKNOWN; /* a script, or not readable */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return kind;
    ssize_t n = pread(fd, page, sizeof page, 0);
    if (n >= (ssize_t)sizeof(Elf64_Ehdr) && !memcmp(page, ELFMAG, SELFMAG))
        kind = kind_of_elf(fd, page, (size_t)n);
    close(fd);
    return kind;
}
