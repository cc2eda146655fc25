"""Holds the page of --report against the files of the same run, in headless Chromium.

HALFSAFE names the binary. Exits with 77 (skipped) where numpy, onnx, node, playwright-core or Chromium is missing, or the
binary was built without pages.
"""

from __future__ import annotations

import functools
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
from typing import Any

try:
    import numpy as np
    import onnx
    from onnx import ModelProto, TensorProto, helper, numpy_helper
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HALFSAFE = os.environ["HALFSAFE"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
MODULES = ROOT / ".deps" / "web-tests" / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM or not shutil.which("node") or not (MODULES / "playwright-core").exists():
    print("skipped: needs node, playwright-core in .deps/web-tests, and chromium")
    sys.exit(77)

WIDTH = 256
# What breaks pages: ends of elements and comments, quotes, entities, the page's own places, and names that objects have.
HOSTILE = ["</script><script>window.hacked=1</script>", "\"><img src=x onerror=window.hacked=2>", "<!-- <script> -->",
           "a&amp;'b", "%%halfsafe:data%%", "__proto__", "</noscript><svg onload=window.hacked=3>", "\u202eabc\u2028", "{{script}}"]


def tool(*arguments: object, code: int = 0) -> str:
    done = subprocess.run([HALFSAFE, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if done.returncode != code:
        raise AssertionError(f"halfsafe {arguments}: exit {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stderr


if "built without --report" in subprocess.run([HALFSAFE, "plan", "/dev/null", "--ranges", "/dev/null", "--report", "/dev/null"],
                                              capture_output=True, text=True).stderr:
    print("skipped: a build without --report")
    sys.exit(77)


def visit(file: pathlib.Path, script: str = "return null;", **options: Any) -> dict[str, Any]:
    """What the page at `file` did while `script`, the body of an async function of Playwright's page, ran."""
    done = subprocess.run(["node", str(ROOT / "tests" / "web" / "visit.mjs"), str(MODULES), CHROMIUM, str(file)],
                          input=json.dumps({"script": script, **options}), capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def overflowing_model(names: list[str]) -> ModelProto:
    """Branches that pass 65504: one that powers of two repair, one whose Exp needs true values and stays FP32, and a masked
    Softmax. Tensors and nodes are called by `names` as far as they go."""
    random = np.random.default_rng(7)
    name = dict(zip(["scores", "masked", "big", "shrunk", "squares", "mean", "guarded", "raised", "exp"], names))
    nodes = [("MatMul", ["x", "w"], "scores", {}), ("Add", ["scores", "mask"], "masked", {}),
             ("Softmax", ["masked"], "p", {"axis": -1}), ("Mul", ["x", "up"], "big", {}), ("Mul", ["big", "down"], "shrunk", {}),
             ("MatMul", ["shrunk", "w"], "y", {}), ("Mul", ["x", "x"], "squares", {}),
             ("ReduceMean", ["squares"], "mean", {"axes": [-1]}), ("Add", ["mean", "epsilon"], "guarded", {}),
             ("Div", ["x", "guarded"], "z", {}), ("Mul", ["x", "three"], "raised", {}), ("Exp", ["raised"], "exp", {}),
             ("Log", ["exp"], "v", {}), ("ArgMax", ["p"], "best", {"axis": -1})]
    graph = helper.make_graph(
        [helper.make_node(op, [name.get(i, i) for i in inputs], [name.get(output, output)], f"node {name.get(output, output)}",
                          **attributes) for op, inputs, output, attributes in nodes],
        "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH, WIDTH])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in ("p", "y", "z", "v")] +
        [helper.make_tensor_value_info("best", TensorProto.INT64, None)],
        [numpy_helper.from_array(np.asarray(values, np.float32), key) for key, values in {
            "w": random.normal(0, 0.05, (WIDTH, WIDTH)), "mask": [0.0] * (WIDTH - 1) + [np.finfo(np.float32).min],
            "up": 60000.0, "down": 1e-4, "epsilon": 1e-12, "three": 3.0}.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_samples(folder: pathlib.Path, count: int = 5) -> pathlib.Path:
    folder.mkdir()
    random = np.random.default_rng(1)
    for index in range(count):
        np.savez(folder / f"<b>{index}&.npz", x=random.normal(0, 1.5, (1, WIDTH, WIDTH)).astype(np.float32))
    return folder


class Run:
    """A fix with all that it writes, and the page of each other command."""

    def __init__(self, folder: pathlib.Path, names: list[str]) -> None:
        self.model = folder / "model <&'\">.onnx"
        onnx.save(overflowing_model(names), self.model)
        data = write_samples(folder / "samples")
        self.page, self.fixed = folder / "fix.html", folder / "fixed.onnx"
        tool("fix", self.model, "--data", data, "-o", self.fixed, "--report", self.page, "--json", folder / "fix.json",
             "--save-ranges", folder / "ranges.json", "--save-plan", folder / "plan.json")
        self.result, self.ranges, self.plan = (json.loads((folder / f"{file}.json").read_text()) for file in ("fix", "ranges", "plan"))
        self.others = {command: folder / f"{command}.html" for command in ("scan", "plan", "check")}
        tool("scan", self.model, "--data", data, "--report", self.others["scan"])
        tool("plan", self.model, "--ranges", folder / "ranges.json", "--report", self.others["plan"])
        tool("check", self.model, self.fixed, "--data", data, "--report", self.others["check"])

    def data(self, page: pathlib.Path | None = None) -> dict[str, Any]:
        text = (page or self.page).read_text(encoding="utf-8")
        return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


@functools.cache
def run() -> Run:
    folder = tempfile.TemporaryDirectory()
    made = Run(pathlib.Path(folder.name), HOSTILE)
    made.keep = folder  # As long as the run itself.
    return made


# Reads a table: what it says, and the cells of its rows from the first to the last, each page of them.
READ = """
const read = async (id) => page.evaluate(async (id) => {
  const grid = document.querySelector(`#${id} .grid`), rows = new Map();
  const settle = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  for (let at = 0; ; at += 300) {
    grid.scrollTop = at;
    await settle();
    for (const row of grid.querySelectorAll('.row'))
      rows.set(Number(row.getAttribute('aria-rowindex')), [...row.children].map((cell) => cell.textContent));
    if (at >= grid.scrollHeight - grid.clientHeight) break;
  }
  return { said: document.querySelector(`#${id} output`).textContent,
           rows: [...rows].sort((a, b) => a[0] - b[0]).map(([, cells]) => cells) };
}, id);
"""


class PageTest(unittest.TestCase):
    def visit(self, file: pathlib.Path, script: str = "return null;", **options: Any) -> Any:
        """The script's value, after demanding a page that had nothing to complain of and asked for nothing but itself."""
        seen = visit(file, script, **options)
        self.assertEqual(seen["console"], [])
        self.assertEqual(seen["errors"], [])
        self.assertEqual(len(seen["requests"]), 1, seen["requests"])
        return seen["value"]

    def test_pages_of_all_commands_open(self) -> None:
        parts = {"fix": "comparison ranges graph errors repairs tensors nodes", "scan": "comparison ranges graph tensors nodes",
                 "plan": "comparison ranges graph repairs tensors nodes", "check": "comparison ranges graph errors tensors nodes"}
        for command, expected in parts.items():
            with self.subTest(command=command):
                file = run().page if command == "fix" else run().others[command]
                shown = self.visit(file, """return page.evaluate(() =>
                    [...document.querySelectorAll('main > section[id]')].filter((s) => s.offsetHeight > 0).map((s) => s.id));""")
                shown = set(shown) - {"verdict"}
                self.assertLessEqual(set(expected.split()), shown)
                self.assertLessEqual(shown, set(expected.split()) | {"repairs"})
                self.assertEqual("errors" in shown, "errors" in expected)

    def test_data_are_those_of_the_other_files(self) -> None:
        data, result = run().data(), run().result
        lists = ("fp32_nodes", "bf16_nodes", "rescaled")  # Columns have these.
        self.assertEqual(data["result"], {key: value for key, value in result.items() if key not in lists})
        stats = {tensor["name"]: tensor for tensor in run().ranges["tensors"]}
        tensors = data["original"]["tensors"]
        seen = [i for i, count in enumerate(tensors["count"]) if count is not None]
        self.assertEqual({tensors["name"][i] for i in seen}, set(stats))
        for i in seen:
            expected = stats[tensors["name"][i]]
            for key, field in {"abs_max": "abs_max", "min": "min", "max": "max"}.items():
                if expected[field] is None:
                    self.assertIsNone(tensors[key][i])
                else:
                    self.assertEqual(np.float32(tensors[key][i]), np.float32(expected[field]))
            for key in ("nan", "inf", "overflow", "subnormal"):
                self.assertEqual(tensors[key][i], expected[f"{key}_count"])
            exponents = {int(key): count for key, count in expected["exponents"].items()}
            if exponents:
                self.assertEqual(tensors["low"][i], min(exponents))
                first, *counts = tensors["histogram"][i]
                self.assertEqual({first + k: count for k, count in enumerate(counts) if count}, exponents)
        self.assertEqual({tensors["name"][i] for i in tensors["overflowing"]}, {row["tensor"] for row in result["overflowing"]})
        nodes, words = data["original"]["nodes"], data["words"]
        planned = {node["name"]: node for node in run().plan["nodes"]}
        for i, name in enumerate(nodes["name"]):
            if name in planned:
                said = [words[nodes[key][i]] for key in ("precision", "reason", "evidence")]
                self.assertEqual(said, [planned[name]["precision"].upper(), planned[name]["reason"], planned[name]["evidence"]])

    def test_a_check_knows_the_original_as_a_scan_does(self) -> None:
        scanned, checked = (run().data(run().others[command]) for command in ("scan", "check"))
        for key in ("name", "min", "max", "abs_max", "overflow", "histogram", "overflowing"):
            self.assertEqual(checked["original"]["tensors"][key], scanned["original"]["tensors"][key])
        for row in ("original", "plain_fp16", "fixed"):
            self.assertEqual(checked["comparison"][row]["overflowing"], run().data()["comparison"][row]["overflowing"])

    def test_fixed_graph_is_that_of_the_fixed_model(self) -> None:
        data = run().data()
        fixed, words = data["fixed"], data["words"]
        names = [data["original"]["tensors"]["name"][name] if isinstance(name, int) else name for name in fixed["tensors"]["name"]]
        model = onnx.load(run().fixed)
        self.assertEqual([words[op] for op in fixed["nodes"]["op_type"]], [node.op_type for node in model.graph.node])
        for i, node in enumerate(model.graph.node):
            self.assertEqual([names[t] for t in fixed["nodes"]["inputs"][i]], list(node.input))
            self.assertEqual([names[t] for t in fixed["nodes"]["outputs"][i]], list(node.output))
        original = {node.name for node in onnx.load(run().model).graph.node}
        inserted = [i for i, node in enumerate(model.graph.node) if node.name not in original]
        self.assertGreater(len(inserted), 0)
        self.assertEqual(fixed["nodes"]["inserted"], inserted)

    def test_fields_are_those_of_the_docs(self) -> None:
        text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8").split("## halfsafe-report")[1]
        documented = {field for cell in re.findall(r"^\| (`.*?`) \|", text, flags=re.M) for field in re.findall(r"`([^`]+)`", cell)}

        def fields(value: Any, path: str = "") -> set[str]:
            if isinstance(value, list) and path == "errors":
                return set().union(*(fields(element, "errors[]") for element in value))
            if not isinstance(value, dict) or path == "result":
                return set()
            names = {key: f"{path}.{key}" if path else key for key in value}
            return set(names.values()).union(*(fields(inner, names[key]) for key, inner in value.items()))

        found = {re.sub(r"^comparison\.(plain_fp16|fixed)(?=\.)", "comparison.original", re.sub(r"^fixed\.", "original.", field))
                 for field in fields(run().data())}
        self.assertEqual(documented, found - {"comparison.original", "comparison.plain_fp16", "comparison.fixed"})

    def test_each_reason_is_explained(self) -> None:
        explained = set(re.findall(r'^    \{"([a-z0-9-]+)", "', (ROOT / "src" / "report" / "html_sections.cc").read_text(), flags=re.M))
        rows = re.findall(r"^\| `([a-z0-9-]+)` \| [a-z0-9, ]*fp32 \|", (ROOT / "docs" / "rules.md").read_text(encoding="utf-8"), flags=re.M)
        self.assertEqual(explained, set(rows))

    def test_summary_says_what_the_result_says(self) -> None:
        result = run().result
        rows = self.visit(run().page, """return page.evaluate(() => [document.querySelector('h1').textContent,
            ...[...document.querySelectorAll('#comparison tr')].map((row) => [...row.children].map((cell) => cell.textContent))]);""")
        self.assertEqual(rows[0], "Right")
        table = {row[0]: row[1:] for row in rows[1:]}
        past = sum(row["overflow_count"] > 0 for row in result["overflowing"])
        self.assertEqual(table["Overflowing tensors"], ["–", str(past), "0"])
        self.assertEqual(table["Non-finite outputs"], ["–", str(len(result["plain_fp16"]["nonfinite_outputs"])), "0"])
        worst = max(output["rel_l2"] for output in result["outputs"])
        self.assertAlmostEqual(float(table["Worst error"][2]) / worst, 1, places=2)
        self.assertEqual(table["Casts"][2], str(result["casts"]))
        self.assertEqual(table["FP16 multiply-adds"][2], f"{100 * result['fp16_multiply_adds']:.1f}%")
        self.assertEqual(table["Size"][2], f"{result['fixed_bytes'] / 1000:.1f} kB")

    def test_table_of_tensors(self) -> None:
        value = self.visit(run().page, READ + """
            const all = await read('tensors');
            await page.click('#tensors .head button >> text="min"');
            const least = await read('tensors');
            await page.click('#tensors .head button >> text="min"');
            const most = await read('tensors');
            await page.click('#tensors .head button >> text="min"');
            await page.click('#tensors .head button >> text="tensor"');
            const named = await read('tensors');
            await page.fill('#tensors input', 'MATMUL');
            const found = await read('tensors');
            await page.fill('#tensors input', '');
            await page.selectOption('#tensors select >> nth=0', 'overflow');
            return { all, least, most, named, found, overflow: await read('tensors') };""")
        stats = run().ranges["tensors"]
        names = lambda table: [row[0] for row in table["rows"]]

        def order(key: str, descending: bool) -> list[str]:
            known = [tensor for tensor in stats if tensor[key] is not None]
            return ([tensor["name"] for tensor in sorted(known, key=lambda tensor: tensor[key], reverse=descending)] +
                    [tensor["name"] for tensor in stats if tensor[key] is None])

        self.assertEqual(names(value["all"]), order("abs_max", True))
        self.assertEqual(names(value["least"]), order("min", True))  # Numbers from the largest down.
        self.assertEqual(names(value["most"]), order("min", False))
        self.assertEqual(names(value["named"]), sorted(tensor["name"] for tensor in stats))
        producers = {output: node.op_type for node in onnx.load(run().model).graph.node for output in node.output}
        matches = [name for name in sorted(tensor["name"] for tensor in stats) if producers.get(name) == "MatMul"]
        self.assertEqual(names(value["found"]), matches)
        self.assertEqual(value["found"]["said"], f"{len(matches)} of {len(stats)} tensors")
        self.assertEqual(set(names(value["overflow"])), {row["tensor"] for row in run().result["overflowing"]})

    def test_table_of_nodes(self) -> None:
        value = self.visit(run().page, READ + """
            const all = await read('nodes');
            await page.selectOption('#nodes select >> nth=0', 'FP32');
            const wide = await read('nodes');
            await page.selectOption('#nodes select >> nth=0', '');
            await page.fill('#nodes input', 'node mul');
            const found = await read('nodes');
            await page.fill('#nodes input', '');
            await page.click('#nodes .head button >> text="operator"');
            const sorted = await read('nodes');
            await page.click('#repairs a[data-reason] >> nth=0');
            const reason = await page.textContent('#repairs a[data-reason] >> nth=0');
            return { all, wide, found, sorted, reason, linked: await read('nodes') };""")
        nodes = list(onnx.load(run().model).graph.node)
        planned = {node["name"]: node for node in run().plan["nodes"]}
        self.assertEqual([row[:2] for row in value["all"]["rows"]], [[node.name, node.op_type] for node in nodes])
        wide = [node.name for node in nodes if planned.get(node.name, {}).get("precision") == "fp32"]
        self.assertGreater(len(wide), 0)
        self.assertEqual([row[0] for row in value["wide"]["rows"]], wide)
        self.assertEqual([row[3:5] for row in value["wide"]["rows"]], [[planned[name]["reason"], planned[name]["evidence"]] for name in wide])
        repairs = {row[0]: row[5] for row in value["all"]["rows"]}
        said = {node.name: [entry.value for entry in node.metadata_props if entry.key in ("halfsafe.rescaled", "halfsafe.constants")]
                for node in onnx.load(run().fixed).graph.node}
        self.assertEqual(repairs, {node.name: "; ".join(said[node.name]) for node in nodes})
        self.assertTrue(any(repairs.values()))
        self.assertEqual([row[0] for row in value["found"]["rows"]], [
            node.name for node in nodes
            if "mul" in "\n".join([node.name, node.op_type, repairs[node.name], *(planned.get(node.name, {}).get(k, "") for k in ("reason", "evidence"))]).lower()])
        self.assertEqual([row[1] for row in value["sorted"]["rows"]], sorted(node.op_type for node in nodes))
        self.assertEqual({row[3] for row in value["linked"]["rows"]}, {value["reason"]})

    def test_graph_shows_every_overflow(self) -> None:
        seen = self.visit(run().page, """return page.evaluate(() => {
            const select = document.getElementById('graph-tensor'), model = document.getElementById('graph-model'), found = [];
            for (let i = 0; i < select.options.length; ++i) {
              const label = (graph) => {
                model.value = graph;
                model.dispatchEvent(new Event('change'));
                return [...document.querySelectorAll('#graph-drawing [role=img]')].map((node) => node.getAttribute('aria-label'));
              };
              found.push({ title: document.querySelector('#tensor h3').firstChild.data, fixed: label('fixed'), original: label('original'),
                           selected: document.querySelectorAll('.edge.selected').length, marked: document.querySelectorAll('.edge.overflows').length });
              document.getElementById('graph-next').click();
            }
            return found;
        });""")
        overflowing = [row["tensor"] for row in run().result["overflowing"]]
        self.assertEqual([entry["title"] for entry in seen], overflowing)
        model = onnx.load(run().model).graph
        for entry in seen:
            with self.subTest(tensor=entry["title"]):
                near = [node.name for node in model.node if entry["title"] in [*node.input, *node.output]]
                for name in near:
                    self.assertTrue(any(f": {name}" in label for label in entry["original"]), name)
                self.assertGreater(entry["selected"], 0)
                self.assertGreater(entry["marked"], 0)
        self.assertTrue(any("inserted" in label for entry in seen for label in entry["fixed"]))
        self.assertFalse(any("inserted" in label for entry in seen for label in entry["original"]))

    def test_address_names_a_tensor(self) -> None:
        tensor = run().result["overflowing"][-1]["tensor"]
        title = self.visit(run().page, "return page.textContent('#tensor h3');", hash="#tensor=" + urllib.parse.quote(tensor, safe=""))
        self.assertTrue(title.startswith(tensor))
        self.visit(run().page, hash="#tensor=%E0%A4%A")  # Cut short: nothing happens.

    def test_click_and_keys_select(self) -> None:
        value = self.visit(run().page, """
            await page.locator('#tensors .row').nth(2).click();
            const clicked = [await page.textContent('#tensors .row.active bdi'), await page.textContent('#tensor h3')];
            await page.locator('#tensors .grid').focus();
            for (const key of ['Home', 'ArrowDown', 'Enter']) await page.keyboard.press(key);
            return { clicked, keyed: await page.textContent('#tensor h3'), second: await page.textContent('#tensors .row >> nth=1 >> bdi') };""")
        self.assertTrue(value["clicked"][1].startswith(value["clicked"][0]))
        self.assertTrue(value["keyed"].startswith(value["second"]))

    def test_errors_of_samples(self) -> None:
        value = self.visit(run().page, READ + "return read('errors');")
        data = run().data()
        expected = {}
        for entry in data["errors"]:
            for i, sample in enumerate(entry["sample"]):
                expected[(data["words"][sample], entry["output"], entry["model"])] = entry["right"][i]
        self.assertEqual(len(value["rows"]), 2 * 5 * len(run().result["outputs"]))
        self.assertEqual({tuple(row[:3]): row[6].endswith(" right") and "not" not in row[6] for row in value["rows"]}, expected)
        for outputs, model in ((run().result["outputs"], "fixed"), (run().result["plain_fp16"]["outputs"], "plain FP16")):
            for output in outputs:  # The result has the worst of the samples.
                entry = next(entry for entry in data["errors"] if (entry["output"], entry["model"]) == (output["name"], model))
                self.assertEqual(max(value if value is not None else np.inf for value in entry["rel_l2"]),
                                 np.inf if output["rel_l2"] is None else output["rel_l2"])
                self.assertEqual(sum(entry["new_nonfinite"]), output["new_nonfinite"])

    def test_hostile_names_do_nothing(self) -> None:
        for file in (run().page, *run().others.values()):
            value = self.visit(file, """
                for (const details of await page.locator('summary').all()) await details.click();
                for (let i = 0; i < 4; ++i) await page.click('#graph-next');
                await page.hover('#ranges-chart', { position: { x: 300, y: 200 } });
                await page.waitForTimeout(200);
                return page.evaluate(() => [typeof window.hacked, document.images.length, document.scripts.length,
                    document.querySelectorAll('svg[onload]').length, document.title]);""")
            self.assertEqual(value[:4], ["undefined", 0, 2, 0])
            self.assertIn(run().model.name, value[4])
        rows = self.visit(run().page, READ + "return read('tensors');")["rows"]
        self.assertLessEqual(set(HOSTILE), {row[0] for row in rows})

    def test_readable_without_javascript(self) -> None:
        text = self.visit(run().page, "return page.innerText('body');", javascript=False)
        self.assertIn("Right", text)
        self.assertIn("Before and after", text)
        for tensor in run().ranges["tensors"]:
            self.assertIn(tensor["name"].replace("\u2028", ""), text.replace("\u2028", ""))
        for node in run().plan["nodes"]:
            self.assertIn(" ".join(node["evidence"].split()), " ".join(text.split()))
        self.assertNotIn("Search tensors", text)

    def test_the_page_is_one_file_with_a_strict_policy(self) -> None:
        text = run().page.read_text(encoding="utf-8")
        policy = html.unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1])
        self.assertTrue(policy.startswith("default-src 'none'; script-src 'sha256-"))
        self.assertNotIn("unsafe", policy)
        own = re.sub(r"<!--.*?-->\s*</body>|<script>.*?</script>", "", text, flags=re.S)  # Without notices and script.
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!#)[^"']*""", re.sub(r"<(script type|noscript).*?</\1", "", own, flags=re.S)), [])
        self.assertIn("Apache ECharts", text)

    def test_light_and_dark(self) -> None:
        script = """
            const ground = () => page.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]);
            const system = await ground();
            await page.selectOption('#theme select', 'light');
            const light = await ground();
            await page.selectOption('#theme select', 'dark');
            return { system, light, dark: await ground() };"""

        def luminance(text: str) -> float:
            channels = [float(c) for c in re.findall(r"[\d.]+", text)[:3]]
            channels = [c / 255 if text.startswith("rgb") else c for c in channels]
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055)**2.4 for c in channels]
            return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

        for dark in (False, True):
            value = self.visit(run().page, script, dark=dark)
            self.assertEqual(value["system"], value["dark" if dark else "light"])
            self.assertNotEqual(value["light"], value["dark"])
            for ground, ink in (value["light"], value["dark"]):
                low, high = sorted([luminance(ground), luminance(ink)])
                self.assertGreater((high + 0.05) / (low + 0.05), 10)

    def test_nothing_sticks_out_of_the_page(self) -> None:
        script = """
            const sizes = [];
            for (const width of [1280, 390]) {
              await page.setViewportSize({ width, height: 900 });
              await page.waitForTimeout(300);
              sizes.push(await page.locator('html').evaluate((html) => html.scrollWidth - html.clientWidth));
            }
            return sizes;"""
        for file in (run().page, *run().others.values()):
            with self.subTest(file=file.name):
                self.assertEqual(self.visit(file, script), [0, 0])
        widths = [self.visit(run().page, "return (await page.locator('main').boundingBox()).width;", width=width, javascript=False)
                  for width in (390, 1280)]
        self.assertLessEqual(widths[0], 390)
        self.assertLessEqual(widths[1], 1280)

    def test_tables_of_10000_rows_are_quick(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            ops = ["Relu", "Neg", "Abs", "Sigmoid"]
            nodes = [helper.make_node(ops[i % 4], [f"block_{i - 1}/out" if i else "x"], [f"block_{i}/out"], f"block_{i}/{ops[i % 4]}")
                     for i in range(10000)]
            graph = helper.make_graph(nodes, "deep", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
                                      [helper.make_tensor_value_info("block_9999/out", TensorProto.FLOAT, [1, 8])])
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "deep.onnx")
            page = folder / "deep.html"
            tool("scan", folder / "deep.onnx", "--random", 2, "-o", folder / "ranges.json")
            tool("plan", folder / "deep.onnx", "--ranges", folder / "ranges.json", "--report", page)
            value = self.visit(page, """return page.evaluate(async () => {
                const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                const time = async (act) => { await painted(); const start = performance.now(); act(); await painted(); return performance.now() - start; };
                const best = async (act) => { const times = []; for (let i = 0; i < 5; ++i) times.push(await time(() => act(i))); return Math.min(...times); };
                const times = {};
                for (const id of ['tensors', 'nodes']) {
                  const search = document.querySelector(`#${id} input`), heads = document.querySelectorAll(`#${id} .head button`);
                  times[`${id}: sort by name`] = await best(() => heads[0].click());
                  times[`${id}: sort by another`] = await best(() => heads[id === 'tensors' ? 3 : 1].click());
                  times[`${id}: search`] = await best((i) => { search.value = `block ${i}7`; search.dispatchEvent(new Event('input')); });
                  const select = document.querySelector(`#${id} select`);
                  times[`${id}: filter`] = await best((i) => { select.selectedIndex = i % 2; select.dispatchEvent(new Event('change')); });
                }
                for (const measure of performance.getEntriesByType('measure').filter((one) => /^table:(tensors|nodes):draw/.test(one.name)))
                  times[`${measure.name.split(':')[1]}: first draw`] = measure.duration;
                return times;
            });""")
        print("\n10000 rows:")
        for what, milliseconds in sorted(value.items()):
            print(f"  {what:28} {milliseconds:6.1f} ms")
            self.assertLess(milliseconds, 200, what)

    def test_a_page_that_cannot_be_written_stops_the_command_first(self) -> None:
        said = tool("scan", "/nowhere.onnx", "--report", "/nowhere/report.html", code=3)
        self.assertIn("/nowhere/report.html", said)


if __name__ == "__main__":
    unittest.main()
