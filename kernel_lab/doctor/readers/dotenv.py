"""Read .env files; python-dotenv knows their grammar."""

from __future__ import annotations

import io

from dotenv.parser import parse_stream

from kernel_lab.doctor.facts import Place, Reading, Value


def read(path: str, text: str, reading: Reading) -> dict[str, Value]:
    """The variables of the file. A line that sets no variable is reported as trouble."""
    found: dict[str, Value] = {}
    for binding in parse_stream(io.StringIO(text)):
        leading = len(binding.original.string) - len(binding.original.string.lstrip("\r\n"))
        place = Place(path, binding.original.line + binding.original.string[:leading].count("\n"))
        if binding.error:
            shown = binding.original.string.strip().split("\n")[0][:60]
            reading.trouble(place, f"`{shown}` is not of the form NAME=value, so the line was not read.")
        elif binding.key is not None and binding.value is not None:
            found[binding.key] = Value(binding.value, place)
    return found
