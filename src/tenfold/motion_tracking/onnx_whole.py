"""Whether an ONNX graph is whole in its bytes: it names no file outside and no operators but ONNX's own.

A graph may say of any tensor that its values lie in another file, anywhere; a runtime that opens the graph then reads that file. This
walks the bytes of the format (Protocol Buffers, onnx.proto) itself, so that nothing is opened to find out.
"""

from collections.abc import Iterator

# field numbers of onnx.proto
_TENSOR, _SPARSE, _ATTRIBUTE, _NODE, _GRAPH, _FUNCTION, _MODEL, _OPSET = range(8)
_WITHIN: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _FUNCTION: {7: _NODE, 9: _OPSET, 11: _ATTRIBUTE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
}
_TRAINING = 20
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DOMAIN = 1
_OWN = (b"", b"ai.onnx")
_DEEPEST = 32


def reason_against(data: bytes) -> str:
    """Why the graph must not be opened; empty if nothing stands against it."""
    try:
        return _look(memoryview(data), _MODEL, 0)
    except ValueError as error:
        return str(error)


def _look(data: memoryview, kind: int, depth: int) -> str:
    if depth > _DEEPEST:
        return "it is nested too deeply"
    for number, value in _fields(data):
        if kind == _TENSOR:
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return "a tensor's values are said to lie in another file"
        elif kind == _OPSET:
            if number == _DOMAIN and not isinstance(value, int) and bytes(value) not in _OWN:
                return f"it needs operators of {bytes(value)[:40]!r}"
        elif kind == _MODEL and number == _TRAINING:
            return "it holds training information"
        elif (inner := _WITHIN[kind].get(number)) is not None:
            if isinstance(value, int):
                return "it is no ONNX graph"
            if found := _look(value, inner, depth + 1):
                return found
    return ""


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of each field of a message. Raises ValueError where the bytes are none."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("it is no ONNX graph")
        if at + size > end:
            raise ValueError("it ends too early")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("it ends too early")
