"""The report about a set: as a page, in the terminal, as Markdown and as JUnit XML."""
