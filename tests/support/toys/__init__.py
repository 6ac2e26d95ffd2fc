"""One toy of each thing that can be added (docs/extending.md): each is one file, and one line where it is listed."""
