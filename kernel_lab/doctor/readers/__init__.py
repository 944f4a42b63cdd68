"""One reader for each kind of file. A reader turns text into facts; it judges nothing and runs nothing."""
