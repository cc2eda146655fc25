"""Models that are large or odd where others are not, written as bytes: onnx's own builders would take longer than the tests.

Each function of `LARGE` takes a size and returns a model that has so many of one thing; those of `BOMBS` return a small file that
stands for something huge.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

FLOAT, INT64, BOOL = 1, 7, 9


# ---------------------------------------------------------------- protobuf's wire format


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


# ---------------------------------------------------------------- ONNX's messages


def node(op: bytes | str, inputs: Iterable[bytes | str], outputs: Iterable[bytes | str], name: bytes | str = "", attributes: bytes = b"",
         domain: bytes | str = "") -> bytes:
    parts = [message(1, x) for x in inputs] + [message(2, x) for x in outputs]
    if name:
        parts.append(message(3, name))
    return message(1, b"".join(parts) + message(4, op) + attributes + (message(7, domain) if domain else b""))


def ints(name: str, *values: int) -> bytes:
    return message(5, message(1, name) + b"".join(number(8, value) for value in values) + number(20, 7))


def integer(name: str, value: int) -> bytes:
    return message(5, message(1, name) + number(3, value) + number(20, 2))


def body(name: str, graph_bytes: bytes) -> bytes:
    return message(5, message(1, name) + message(6, graph_bytes) + number(20, 5))


def value(name: bytes | str, shape: Sequence[int], kind: int = FLOAT) -> bytes:
    dims = b"".join(message(1, number(1, dim)) for dim in shape)
    return message(1, name) + message(2, message(1, number(1, kind) + message(2, dims)))


def tensor(name: str, dims: Sequence[int], kind: int, raw: bytes) -> bytes:
    return b"".join(number(1, dim) for dim in dims) + number(2, kind) + message(8, name) + message(9, raw)


def scalar(name: str, content: float = 1.0) -> bytes:
    return tensor(name, [], FLOAT, struct.pack("<f", content))


def graph(nodes: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes], weights: Iterable[bytes] = ()) -> bytes:
    return (b"".join(nodes) + message(2, "graph") + b"".join(message(5, x) for x in weights) + b"".join(message(11, x) for x in inputs)
            + b"".join(message(12, x) for x in outputs))


def model(graph_bytes: bytes, opset: int = 17, functions: Iterable[bytes] = (), imports: Iterable[str] = ()) -> bytes:
    return (number(1, 8) + message(7, graph_bytes) + message(8, message(1, "") + number(2, opset))
            + b"".join(message(8, message(1, domain) + number(2, 1)) for domain in imports) + b"".join(message(25, x) for x in functions))


def function(name: str, nodes: Iterable[bytes]) -> bytes:
    """One input a, one output b, in the domain d."""
    in_function = (b"\x3a" + entry[1:] for entry in nodes)  # Nodes are field 7 here, and 1 of graphs.
    return (message(1, name) + message(4, "a") + message(5, "b") + b"".join(in_function) + message(9, message(1, "") + number(2, 17))
            + message(9, message(1, "d") + number(2, 1)) + message(10, "d"))


def from_x_to_y(nodes: Iterable[bytes], weights: Iterable[bytes] = (), shape: Sequence[int] = (4,), **rest: object) -> bytes:
    return model(graph(nodes, [value("x", shape)], [value("y", shape)], weights), **rest)


def step(i: int, count: int) -> tuple[str, str]:
    """What the i-th of `count` nodes in a row reads and writes."""
    return "x" if i == 0 else f"t{i - 1}", f"t{i}" if i < count - 1 else "y"


# ---------------------------------------------------------------- many of one thing


def chain(count: int) -> bytes:
    return from_x_to_y(node("Relu" if i % 2 else "Sigmoid", [step(i, count)[0]], [step(i, count)[1]]) for i in range(count))


def star(count: int) -> bytes:
    """All nodes share a constant."""
    return from_x_to_y((node("Mul", [step(i, count)[0], "c"], [step(i, count)[1]]) for i in range(count)), [scalar("c")])


def wide(count: int) -> bytes:
    """All nodes read one tensor, and one node reads them all."""
    return from_x_to_y([*(node("Relu", ["x"], [f"t{i}"]) for i in range(count)), node("Sum", [f"t{i}" for i in range(count)], ["y"])])


def products(count: int) -> bytes:
    """Each result is a product of all before."""
    nodes = []
    for i in range(count):
        source, result = step(i, count)
        nodes += [node("Add", ["x", "x"], [f"a{i}"]), node("Mul", ["a0" if i == 0 else source, f"a{i}"], [result])]
    return from_x_to_y(nodes)


def many_inputs(count: int) -> bytes:
    """A node with as many inputs."""
    return from_x_to_y([node("Sum", ["x"] * count, ["y"])])


def many_outputs(count: int) -> bytes:
    names = [f"s{i}" for i in range(count)]
    return from_x_to_y([node("Split", ["x"], names), node("Concat", names, ["y"], attributes=integer("axis", 0))], shape=(count,), opset=13)


def graph_outputs(count: int) -> bytes:
    return model(graph((node("Relu", ["x"], [f"y{i}"]) for i in range(count)), [value("x", [4])], [value(f"y{i}", [4]) for i in range(count)]))


def graph_inputs(count: int) -> bytes:
    names = [f"x{i}" for i in range(count)]
    return model(graph([node("Sum", names, ["y"])], [value(name, [4]) for name in names], [value("y", [4])]))


def initializers(count: int) -> bytes:
    return from_x_to_y([node("Relu", ["x"], ["y"])], [scalar(f"c{i}") for i in range(count)])


def shared_name(count: int) -> bytes:
    """All nodes have one name."""
    return from_x_to_y(node("Relu", [step(i, count)[0]], [step(i, count)[1]], "same") for i in range(count))


def without_outputs(count: int) -> bytes:
    """Nodes that nothing tells apart."""
    return from_x_to_y([*(node("Foo", ["x"], [], domain="d") for _ in range(count)), node("Relu", ["x"], ["y"])], imports=["d"])


def branch(nodes: Iterable[bytes], output: str) -> bytes:
    return graph(nodes, [], [value(output, [4])])


def conditional(name: str, output: str, then: bytes) -> bytes:
    other = branch([node("Relu", ["x"], ["e"])], "e")
    return node("If", ["c"], [output], name, body("then_branch", then) + body("else_branch", other))


TRUE = tensor("c", [], BOOL, b"\1")


def bodies(count: int) -> bytes:
    inside = branch([node("Relu", ["x"], ["b"])], "b")
    nodes = [conditional("same", f"t{i}", inside) for i in range(count)]
    return from_x_to_y([*nodes, node("Sum", [f"t{i}" for i in range(count)], ["y"])], [TRUE])


def long_names(count: int) -> bytes:
    """A node in a row for each 1000 characters of a name."""
    names = ["x", *(str(i) * 1000 for i in range(1, count)), "y"]
    return from_x_to_y(node("Relu", [names[i]], [names[i + 1]]) for i in range(count))


LARGE: dict[str, Callable[[int], bytes]] = {
    function.__name__: function
    for function in (chain, star, wide, products, many_inputs, many_outputs, graph_outputs, graph_inputs, initializers, shared_name,
                     without_outputs, bodies, long_names)
}


# ---------------------------------------------------------------- names

NAMES = [b"</script><script>window.hacked=1</script>", b"\"><img src=x onerror=window.hacked=2>", b"<!-- <b>", b"a&amp;'b", b"%%halfsafe:data%%",
         b"\x1b]0;owned\x07\x1b[2J", b"n\nRIGHT: the fixed model agrees\n", b"\xe2\x80\xaeabc", b"\xff\xfe\xc3(", b"a\0b", b"{}{0}%s%n", b"../../x",
         b"$(touch hacked)", b"; touch hacked", b"x" * 5000]


def hostile_names(domain: bytes = b"<i>domain</i>\x1b[2J") -> bytes:
    """Every place that a string can stand in has each of `NAMES`."""
    nodes, before = [], b"x"
    for name in NAMES:
        nodes.append(node("Mul", [before, b"w" + name], [b"t" + name], b"n" + name))
        before = b"t" + name
    nodes += [node(name, [before], [b"o" + name], b"m" + name, domain=domain) for name in NAMES]
    outputs = [value(before, [4]), *(value(b"o" + name, [4]) for name in NAMES)]
    weights = [message(8, b"w" + name) + number(2, FLOAT) + message(9, struct.pack("<f", 2.0)) for name in NAMES]
    extra = [message(14, message(1, name) + message(2, name)) for name in NAMES]  # Metadata.
    strings = message(2, NAMES[0]) + message(3, NAMES[5]) + message(6, NAMES[6])  # Producer, its version, documentation.
    imports = message(8, message(1, domain) + number(2, 1))
    return model(graph(nodes, [value("x", [4])], outputs, weights)) + imports + b"".join(extra) + strings


# ---------------------------------------------------------------- small files that stand for much


def doubling_shape() -> bytes:
    """Joined to itself again and again, a shape of two numbers has 2^41."""
    nodes = [node("Shape", ["x"], ["s0"])]
    nodes += [node("Concat", [f"s{i}"] * 2, [f"s{i + 1}"], attributes=integer("axis", 0)) for i in range(40)]
    return from_x_to_y([*nodes, node("Reshape", ["x", "s40"], ["y"])], shape=(1, 1))


def long_shape() -> bytes:
    """A shape that is given, of 2^40 numbers: so many dimensions has the result."""
    nodes = [node("Reshape", ["x", "s"], ["y"])]
    return model(graph(nodes, [value("x", [4]), value("s", [1 << 40], INT64)], [value("y", [4])]))


def doubling_rank() -> bytes:
    """Gather adds the ranks of its operands up."""
    nodes = [node("Gather", [f"r{i}"] * 2, [f"r{i + 1}"], attributes=integer("axis", 0)) for i in range(40)]
    return model(graph(nodes, [value("r0", [1, 1], INT64)], [value("r40", [1], INT64)]))


def large_rank() -> bytes:
    """Every tensor has as many dimensions."""
    count = 2000
    return from_x_to_y((node("Relu", [step(i, count)[0]], [step(i, count)[1]]) for i in range(count)), shape=[1] * 20000)


def long_constant() -> bytes:
    """Many nodes join one long constant to itself."""
    count = 2000
    nodes = [node("Concat", ["k"] * 1000, ["f"], attributes=integer("axis", 0))]
    nodes += [node("Cast", ["f"], [f"i{i}"], attributes=integer("to", INT64)) for i in range(count)]
    nodes.append(node("Concat", [f"i{i}" for i in range(count)], ["y"], attributes=integer("axis", 0)))
    weights = [tensor("k", [20], FLOAT, bytes(80))]
    return model(graph(nodes, [value("x", [1])], [value("y", [20000 * count], INT64)], weights))


def deep_type() -> bytes:
    """A sequence of sequences of sequences ..., which every node hands on."""
    kind = message(1, number(1, FLOAT))
    for _ in range(300):
        kind = message(4, message(1, kind))
    nodes = [node("Identity", [step(i, 2000)[0]], [step(i, 2000)[1]]) for i in range(2000)]
    return model(graph(nodes, [message(1, "x") + message(2, kind)], [message(1, "y")]))


def long_scope() -> bytes:
    """A long name stands before those of all that lies in the body."""
    count = 10000
    inside = branch([node("Relu", [step(i, count)[0]], [step(i, count)[1] if i < count - 1 else "b"]) for i in range(count)], "b")
    return from_x_to_y([conditional("n" * 100000, "y", inside)], [TRUE])


def nested(depth: int = 300) -> bytes:
    inside = branch([node("Relu", ["x"], [f"b{depth}"])], f"b{depth}")
    for i in reversed(range(depth)):
        inside = branch([conditional("", f"b{i}", inside)], f"b{i}")
    return from_x_to_y([conditional("", "y", inside)], [TRUE])


def doubling_functions() -> bytes:
    functions = [function(f"f{i}", [node(f"f{i + 1}", ["a"], ["c"], domain="d"), node(f"f{i + 1}", ["c"], ["b"], domain="d")])
                 for i in range(40)]
    functions.append(function("f40", [node("Relu", ["a"], ["b"])]))
    return from_x_to_y([node("f0", ["x"], ["y"], domain="d")], functions=functions, imports=["d"])


def deep_functions() -> bytes:
    functions = [function(f"f{i}", [node(f"f{i + 1}", ["a"], ["b"], domain="d")]) for i in range(5000)]
    functions.append(function("f5000", [node("Relu", ["a"], ["b"])]))
    return from_x_to_y([node("f0", ["x"], ["y"], domain="d")], functions=functions, imports=["d"])


def circular_functions() -> bytes:
    functions = [function("f", [node("g", ["a"], ["b"], domain="d")]), function("g", [node("f", ["a"], ["b"], domain="d")])]
    return from_x_to_y([node("f", ["x"], ["y"], domain="d")], functions=functions, imports=["d"])


def many_functions() -> bytes:
    return from_x_to_y([node("Relu", ["x"], ["y"])], functions=[function(f"f{i}", [node("Relu", ["a"], ["b"])]) for i in range(50000)],
                       imports=["d"])


def large_argument() -> bytes:
    """What a call gives to a function is copied for every node that asks for it."""
    asking = message(5, message(1, "value") + number(20, 4) + message(21, "content"))
    nodes = [node("Constant", [], [f"k{i}"], attributes=asking) for i in range(2000)] + [node("Relu", ["a"], ["b"])]
    large = function("f", nodes) + message(6, "content")
    given = message(5, message(1, "content") + message(5, tensor("", [250000], FLOAT, bytes(1000000))) + number(20, 4))
    return from_x_to_y([node("f", ["x"], ["y"], attributes=given, domain="d")], functions=[large], imports=["d"])


def huge_sparse() -> bytes:
    """Ten constants of a value each, of 1.6 GB when dense."""
    def sparse(i: int) -> bytes:
        dims = b"".join(number(3, dim) for dim in (20000, 20000))
        return message(1, tensor(f"w{i}", [1], FLOAT, bytes(4))) + message(2, tensor("", [1], INT64, bytes(8))) + dims

    whole = graph([node("Relu", ["x"], ["y"])], [value("x", [4])], [value("y", [4])]) + b"".join(message(15, sparse(i)) for i in range(10))
    return model(whole)


def huge_dims() -> bytes:
    return from_x_to_y([node("Add", ["x", "w"], ["y"])], [tensor("w", [1 << 31, 1 << 31, 4], FLOAT, b"")])


def huge_shape() -> bytes:
    """Dimensions whose product passes what 64 bits hold, of tensors that are only stated."""
    return from_x_to_y([node("Relu", ["x"], ["t"]), node("Relu", ["t"], ["y"])], shape=(1 << 60, 1 << 60, 1 << 60))


def circle() -> bytes:
    return from_x_to_y([node("Relu", ["t"], ["u"]), node("Relu", ["u"], ["t"]), node("Relu", ["t"], ["y"])])


def many_opsets() -> bytes:
    return from_x_to_y([node("Relu", ["x"], ["y"])], imports=[f"d{i}" for i in range(100000)])


def empty_nodes() -> bytes:
    return from_x_to_y([message(1, b"")] * 1000000)


def empty_attributes() -> bytes:
    return from_x_to_y([node("Relu", ["x"], ["y"], attributes=message(5, b"") * 1000000)])


# What each has to be refused with; "" where it may be accepted, in no more memory than others.
BOMBS: dict[Callable[[], bytes], str] = {
    doubling_shape: "", long_shape: "", doubling_rank: "", large_rank: "", long_constant: "", deep_type: "", huge_shape: "",
    long_scope: "names", nested: "nested", doubling_functions: "expand", deep_functions: "deep", circular_functions: "circle",
    many_functions: "functions", large_argument: "expand", huge_sparse: "dense", huge_dims: "dimensions", circle: "nothing before it writes",
    many_opsets: "opsets", empty_nodes: "never written", empty_attributes: "attribute",
}
