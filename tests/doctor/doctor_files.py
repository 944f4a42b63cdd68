"""Writes the files of a case into a folder."""


def written(folder, files):
    """The folder, or the file itself where there is only one: a file alone is judged alone."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / next(iter(files)) if len(files) == 1 else folder
