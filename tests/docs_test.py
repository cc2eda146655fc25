"""Holds the documentation against the program: links, paths, commands, options, reasons, JSON fields, operators, and the
README's shell blocks, which are run.

HALFSAFE names the binary. Exits with 77 (skipped) where numpy or onnx is missing.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HALFSAFE = os.environ["HALFSAFE"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("src", "include", "docs", "scripts", "tests", "bench", "examples", "cmake", "python")
# Objects whose keys are names or numbers, not fields.
MAPS = {"tensors[].exponents", "opsets", "operators"}
# So wide that FP16 saves more than Casts cost: smaller models stay FP32 as a whole.
WIDTH = 256


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def without_blocks(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def spans(text):
    """What stands between single backticks, outside code blocks."""
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def anchors(text):
    """The anchors that hosting sites give to headings, in any script; a heading that comes again gets a number."""
    found = {}
    for heading in re.findall(r"^#+ +(.*)$", without_blocks(text), flags=re.M):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return set(found) | {f"{anchor}-{number}" for anchor, last in found.items() for number in range(1, last + 1)}


def section(text, heading):
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    return found.group(1) if found else ""


def first_cells(text):
    """The names in backticks that begin the rows of tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.M)


def scale_rows():
    """The table of scale rules in the source, as operators.md writes its rows."""
    source = re.sub(r"//.*", "", read("src/model/scale_table.cc"))
    source = re.sub(r"\s+", " ", source)
    families = dict(re.findall(r"constexpr ScaleRule (\w+)\(std::string_view op\) \{ return \{op, (.*?)\}; \}", source))
    table = re.search(r"kScaleRules = \{(.*?)\};", source).group(1)
    rows = []
    for family, name, rule in re.findall(r'(\w+)[({]"(\w+)"(?:\)|, (.*?)\}),(?= \w+[({]"| $)', table):
        rule = rule or families[family]
        inputs, output = re.match(r'"([^"]+)"(?:, (\d+))?', rule).groups()
        notes = []
        for attribute, times, slot in re.findall(r'\{"(\w+)", (-?\d+)(?:, (\d+))?\}', rule):
            times = {"1": "", "-1": "-"}.get(times, times + " ")
            notes.append(f"`{attribute}` * 2^({times}e_{slot or 0})")
        for low, high in re.findall(r", (-?\d+\.\d+), (\d+\.\d+)$", rule):
            notes.append(f"clamped to {float(low):g} and {float(high):g}")
        result = {"0": "0", "1": "e"}.get(output or "1", f"{output} e")
        rows.append(f"| {name} | `{inputs}` | {result} | {', '.join(notes)} |".replace("|  |", "| |"))
    return rows


def run(*arguments, cwd=None, expect=0):
    done = subprocess.run([HALFSAFE, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=cwd)
    if done.returncode != expect:
        raise AssertionError(f"halfsafe {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def commands():
    return re.findall(r"^  ([a-z]+)  +\S", run("--help").split("Subcommands:")[1], flags=re.M)


def options(command):
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", run(command, "--help")))


# ---------------------------------------------------------------- models that make every field of every file appear


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def model_of(nodes, inputs, outputs, initializers):
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def attention_with_overflow():
    """Scores under a mask of -3.4e38, a branch that goes past 65504 and comes back, and an epsilon that FP16 makes zero."""
    random = np.random.default_rng(7)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"], "scores"),
        helper.make_node("Add", ["scores", "mask"], ["masked"], "masked"),
        helper.make_node("Softmax", ["masked"], ["p"], "p", axis=-1),
        helper.make_node("Mul", ["x", "up"], ["big"], "big"),
        helper.make_node("Mul", ["big", "down"], ["y"], "y"),
        helper.make_node("Mul", ["x", "x"], ["squares"], "squares"),
        helper.make_node("ReduceMean", ["squares"], ["mean"], "mean", axes=[-1]),
        helper.make_node("Add", ["mean", "epsilon"], ["guarded"], "guarded"),
        helper.make_node("Div", ["x", "guarded"], ["z"], "z"),
    ]
    initializers = [constant("w", random.normal(0, 0.05, (WIDTH, WIDTH))),
                    constant("mask", [0] * (WIDTH - 1) + [np.finfo(np.float32).min]),
                    constant("up", 60000.0), constant("down", 0.001), constant("epsilon", 1e-12)]
    shape = [1, WIDTH, WIDTH]
    return model_of(nodes, [("x", shape)], [("p", shape), ("y", shape), ("z", shape)], initializers)


def folding_overflow():
    """A weight past 65504, one that passes it only once the BatchNormalization is folded into it, and between these two a
    tensor that overflows and that their constants can bring into range."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["b"], "bn"),
        helper.make_node("Add", ["b", "far"], ["y"], "add"),
    ]
    initializers = [constant("w", [[[[60000.0]]]]), constant("scale", [3000.0]), constant("shift", [0.0]),
                    constant("mean", [0.0]), constant("variance", [1e5]), constant("far", 1e6)]
    return model_of(nodes, [("x", [1, 1, 2, 2])], [("y", [1, 1, 2, 2])], initializers)


def write_inputs(folder):
    """model.onnx and samples/, the names that the README uses."""
    folder = pathlib.Path(folder)
    onnx.save(attention_with_overflow(), folder / "model.onnx")
    onnx.save(folding_overflow(), folder / "folding.onnx")
    (folder / "samples").mkdir()
    random = np.random.default_rng(1)
    for index in range(4):
        np.savez(folder / "samples" / f"{index}.npz", x=random.normal(0, 1.5, (1, WIDTH, WIDTH)).astype(np.float32))


def fields(value, path=""):
    """Every field of a JSON value: "tensors[].name"."""
    found = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"{path}.{key}" if path else key
            found.add(name)
            if name not in MAPS:
                found |= fields(inner, name)
    elif isinstance(value, list):
        for inner in value:
            found |= fields(inner, path + "[]")
    return found


def canonical(name):
    """The field of halfsafe-result under which this one is documented."""
    name = re.sub(r"^(plain_fp16|holdout)\.", "fixed_model.", name)
    name = re.sub(r"^outputs\[\]\.", "fixed_model.outputs[].", name)
    name = re.sub(r"^fixed_overflowing\[\]\.", "overflowing[].", name)
    return name.replace("fixed_model.first_nan.", "fixed_model.first_inf.")


class DocsTest(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text(encoding="utf-8"))):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                file = page.parent / path if path else page
                with self.subTest(page=str(page.relative_to(ROOT)), target=target):
                    self.assertTrue(file.exists())
                    if anchor:
                        self.assertIn(anchor, anchors(file.read_text(encoding="utf-8")))

    def test_every_page_can_be_reached_from_the_readme(self):
        reached, pending = set(), [ROOT / "README.md"]
        while pending:
            page = pending.pop()
            if page not in reached:
                reached.add(page)
                links = re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
                pending += [(page.parent / link).resolve() for link in links if not re.match(r"[a-z]+:", link)]
        self.assertEqual(set(PAGES) - reached, set())

    def test_paths_exist(self):
        pattern = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./*-]*")
        for page in PAGES:
            for name in set(pattern.findall(page.read_text(encoding="utf-8"))):
                name = name.rstrip(".")
                with self.subTest(page=page.name, path=name):
                    self.assertTrue(list(ROOT.glob(name.rstrip("/"))))

    def test_every_stage_is_described(self):
        text = read("docs/architecture.md")
        for folder in sorted((ROOT / "src").iterdir()):
            self.assertIn(f"src/{folder.name}/", text)
        for header in sorted((ROOT / "include" / "halfsafe").glob("*.h")):
            self.assertIn(header.name, text)

    def test_includes_point_to_the_same_folder_or_one_above(self):
        order = re.findall(r"^src/(\w+)/", section(read("docs/architecture.md"), "Folders"), flags=re.M)
        for file in sorted((ROOT / "src").glob("*/*.[ch]*")):
            for folder in re.findall(r'#include "(\w+)/', file.read_text(encoding="utf-8")):
                if folder in order:
                    with self.subTest(file=file.name, folder=folder):
                        self.assertLessEqual(order.index(folder), order.index(file.parent.name))

    def test_commands_and_options_exist(self):
        known = {command: options(command) for command in commands()}
        everywhere = set().union(*known.values()) | {"--version", "--help"}
        self.assertEqual(set(re.findall(r"^\| `halfsafe (\w+)", read("README.md"), flags=re.M)), set(known))
        for page in PAGES:
            text = page.read_text(encoding="utf-8").replace("\\\n", " ")
            for line in re.findall(r"(?:^|[`/ ])halfsafe +([a-z]+(?: [^`\n]*)?)", text, flags=re.M):
                command = line.split()[0]
                if command not in known:
                    continue
                for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", line):
                    with self.subTest(page=page.name, line=line):
                        self.assertIn(option, known[command])
            for span in spans(text):
                option = re.match(r"--[a-z][\w-]*", span)
                if option:
                    with self.subTest(page=page.name, span=span):
                        self.assertIn(option.group(), everywhere)

    def test_exit_codes_are_those_of_the_enum(self):
        enum = {int(code) for code in re.findall(r"^  k\w+ = (\d+),", read("include/halfsafe/error.h"), flags=re.M)}
        table = {int(code) for code in re.findall(r"^\| (\d+) \|", read("README.md"), flags=re.M)}
        self.assertEqual(table, enum)

    def test_reasons_are_those_of_the_planner(self):
        source = "".join(path.read_text(encoding="utf-8")
                         for folder in ("plan", "verify") for path in sorted((ROOT / "src" / folder).glob("*.cc")))
        reasons = set(re.findall(r'\{"([a-z0-9-]+)", &\w+, (?:true|false),\s*"', source))  # The table of rules.
        reasons |= set(re.findall(r'reason == "([a-z0-9-]+)"', source))  # Those that --explain knows besides.
        reasons |= set(re.findall(r'reason = "([a-z0-9-]+)"', source))
        reasons |= set(re.findall(r'Precision::k\w+, "([a-z0-9-]+)"', source))
        reasons |= set(re.findall(r'constants\.push_back\(\{[\w>-]+[.>]name, [^"]*"([a-z0-9-]+)"', source))
        self.assertEqual(set(first_cells(section(read("docs/rules.md"), "Reasons"))), reasons)

    def test_operators_are_those_of_the_table(self):
        table = set(re.findall(r'^    \w+[({]"(\w+)"', read("src/model/op_traits.cc"), flags=re.M))
        named = set()
        for row in re.findall(r"^\|.*\|$", section(read("docs/operators.md"), "The operator table"), flags=re.M):
            named |= set(re.findall(r"\b[A-Z]\w+\b", row.split("|")[-2]))
        self.assertEqual(named, table)

    def test_scale_rules_are_those_of_the_table(self):
        source = read("src/model/scale_table.cc")
        table = scale_rows()
        self.assertEqual(len(table), len(re.findall(r'^    \w+[({]"', source, flags=re.M)))
        text = section(read("docs/operators.md"), "The scale table")
        self.assertEqual([row for row in text.splitlines() if re.match(r"\| [A-Z]\w+ \|", row)], table)
        signs = set(re.findall(r"= '(.)',", read("src/model/scale_rules.h"))) - {" "} | {"*"}
        self.assertEqual(set(first_cells(text)), signs)

    def test_json_fields_are_those_of_the_files(self):
        written = {"halfsafe-ranges": set(), "halfsafe-plan": set(), "halfsafe-result": set(), "halfsafe-inspection": set(),
                   "halfsafe-diff": set()}
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder)

            def halfsafe(*arguments, expect=0):
                run(*arguments, cwd=folder, expect=expect)

            halfsafe("fix", "model.onnx", "--data", "samples", "-o", "a.onnx", "--save-plan", "plan.json",
                     "--save-ranges", "ranges.json", "--json", "fix.json", "--io", "fp16", "--holdout", "0.5")
            halfsafe("fix", "model.onnx", "--data", "samples", "-o", "a2.onnx", "--save-plan", "plan2.json", "--save-ranges",
                     "ranges2.json", "--lift-clamps")
            # A tolerance that FP16 can't meet makes fix widen.
            halfsafe("fix", "model.onnx", "--data", "samples", "-o", "b.onnx", "--json", "widened.json", "--rel-l2", "1e-5")
            halfsafe("scan", "model.onnx", "--data", "samples", "--json", "scan.json")
            (pathlib.Path(folder) / "broken.npz").write_bytes(b"")
            halfsafe("scan", "model.onnx", "--data", "samples", "broken.npz", "--skip-bad-samples", "--json", "skipped.json",
                     "-o", "skipped_ranges.json")
            halfsafe("apply", "model.onnx", "--plan", "plan.json", "-o", "c.onnx", "--json", "apply.json")
            halfsafe("inspect", "folding.onnx", "--json", "inspection.json")
            halfsafe("scan", "folding.onnx", "--random", "1", "--json", "weights.json", "-o", "folding_ranges.json")
            halfsafe("plan", "folding.onnx", "--ranges", "folding_ranges.json", "-o", "folding_plan.json",
                     "--json", "folding_result.json")
            halfsafe("apply", "folding.onnx", "--plan", "folding_plan.json", "-o", "d.onnx")
            plain = json.loads(pathlib.Path(folder, "plan.json").read_text())
            plain["tensors"] = plain["constants"] = []
            for node in plain["nodes"]:
                node["precision"] = "fp16"
            pathlib.Path(folder, "plain.json").write_text(json.dumps(plain))
            halfsafe("apply", "model.onnx", "--plan", "plain.json", "-o", "e.onnx")
            halfsafe("check", "model.onnx", "e.onnx", "--data", "samples", "--fail-on", "overflow", "--json", "gate.json",
                     expect=1)
            halfsafe("diff", "ranges.json", "folding_ranges.json", "--json", "diff.json")
            for path in pathlib.Path(folder).glob("*.json"):
                content = json.loads(path.read_text())
                result = content["format"] == "halfsafe-result"
                written[content["format"]] |= {canonical(name) if result else name for name in fields(content)}
        text = read("docs/formats.md")
        common = set(first_cells(text.split("\n## ")[0]))
        self.assertEqual(common, {"format", "version", "model_sha256"})
        for name, found in written.items():
            documented = set(first_cells(section(text, name))) | common
            if name == "halfsafe-diff":  # Of two models.
                documented.remove("model_sha256")
            with self.subTest(format=name):
                self.assertEqual(documented, found)

    def test_fields_of_latencies_are_those_that_are_read_and_written(self):
        table = section(read("docs/formats.md"), "halfsafe-latencies")
        documented = {name.split(".")[-1] for name in first_cells(table)} | {"format", "version", "model_sha256"}
        self.assertEqual(documented, set(re.findall(r'"([a-z0-9_]+)"', read("src/plan/latencies_json.cc"))))

    def test_json_examples_have_documented_fields_only(self):
        text = read("docs/formats.md")
        examples = [json.loads(block) for block in blocks(text, "json")]
        self.assertEqual(len(examples), 7)
        for example in examples:
            documented = set(first_cells(section(text, example["format"]))) | {"format", "version", "model_sha256"}
            result = example["format"] == "halfsafe-result"
            with self.subTest(format=example["format"]):
                self.assertLessEqual({canonical(name) if result else name for name in fields(example)}, documented)

    def test_python_of_the_readme_is_what_the_page_shows(self):
        for block in blocks(read("README.md"), "python"):
            self.assertIn(block, blocks(read("docs/python.md"), "python"))  # Which tests of the wheel run.

    def test_shell_blocks_of_the_readme_run(self):
        ran = 0
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder)
            build = pathlib.Path(folder, "build")
            build.mkdir()
            (build / "halfsafe").symlink_to(HALFSAFE)
            for block in blocks(read("README.md"), "sh"):
                if block == "scripts/test\n":
                    continue  # It runs this test.
                demo = "scripts/" in block
                if demo and pathlib.Path(HALFSAFE).resolve() != ROOT / "build" / "halfsafe":
                    continue  # It would build another program than the one under test.
                done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=ROOT if demo else folder,
                                      capture_output=True, text=True, timeout=600)
                self.assertEqual(done.returncode, 0, f"{block}\n{done.stdout}{done.stderr}")
                ran += 1
            self.assertTrue(pathlib.Path(folder, "fixed.onnx").exists())
        self.assertGreaterEqual(ran, 2)


if __name__ == "__main__":
    unittest.main()
