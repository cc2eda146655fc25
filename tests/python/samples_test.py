"""What may be given as samples, against the same arrays given plainly."""

import collections.abc
import os
import tempfile
import unittest

import numpy as np

import halfsafe
import models
from models import TensorProto, helper

try:
    import torch
except ImportError:
    torch = None

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None


class Shelf(collections.abc.Sequence):
    """Samples made when they are asked for; counts how often."""

    def __init__(self, elements):
        self.elements = elements
        self.reads = 0

    def __len__(self):
        return len(self.elements)

    def __getitem__(self, index):
        self.reads += 1
        return self.elements[index]


class Loader:
    """Like PyTorch's: a length, no indices, another order each time it is walked, elements (input, label)."""

    def __init__(self, elements):
        self.elements = elements
        self.walks = 0

    def __len__(self):
        return len(self.elements)

    def __iter__(self):
        self.walks += 1
        order = np.random.default_rng(self.walks).permutation(len(self.elements))
        return iter([(self.elements[index]["x"], index) for index in order])


class StreamWithLength(Loader):
    """Like PyTorch's IterableDataset with a length: what it inherits only says that there are no indices."""

    def __getitem__(self, index):
        raise NotImplementedError


class Dlpack:
    """An array of a library that numpy knows only by the protocol."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Arraylike:
    """An array that turns into numpy's."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class SamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = halfsafe.load(models.overflowing())
        cls.samples = models.samples()
        cls.expected = halfsafe.scan(cls.model, cls.samples).to_json()

    def assert_same(self, samples, **options):
        self.assertEqual(halfsafe.scan(self.model, samples, **options).to_json(), self.expected)

    def test_every_form_gives_the_same_ranges(self):
        arrays = [sample["x"] for sample in self.samples]
        forms = {
            "arrays": arrays,
            "tuple": tuple(arrays),
            "tuples": [(array,) for array in arrays],
            "lists": [[array] for array in arrays],
            "with label": [(array, 3) for array in arrays],
            "mapping and label": [(sample, 3) for sample in self.samples],
            "more names": [dict(sample, label=np.int64(3)) for sample in self.samples],
            "stacked": list(np.stack(arrays)),
            "sequence": Shelf(self.samples),
            "generator": (sample for sample in self.samples),
            "dlpack": [Dlpack(array) for array in arrays],
            "arraylike": [Arraylike(array) for array in arrays],
            "strided": [np.asfortranarray(array) for array in arrays],
            "big endian": [array.astype(">f4") for array in arrays],
            "read only": [np.broadcast_to(array, array.shape) for array in arrays],
        }
        for name, samples in forms.items():
            with self.subTest(name):
                self.assert_same(samples)
        self.assert_same(arrays, transform=lambda array: {"x": array})
        self.assert_same(((2 * array for array in arrays)), transform=lambda array: array / 2)

    def test_one_sample_needs_no_list(self):
        expected = halfsafe.scan(self.model, self.samples[:1]).to_json()
        for samples in (self.samples[0], self.samples[0]["x"], Arraylike(self.samples[0]["x"])):
            with self.subTest(type(samples).__name__):
                self.assertEqual(halfsafe.scan(self.model, samples).to_json(), expected)

    def test_a_stream_is_walked_once_and_read_again(self):
        walked = []

        def stream():
            for sample in self.samples:
                walked.append(sample)
                yield sample

        fix = halfsafe.fix(self.model, stream(), rel_l2=1e-5)  # Widens, which reads samples again.
        self.assertEqual(len(walked), len(self.samples))
        self.assertTrue(fix.widenings)
        self.assertEqual(fix.plan.to_json(), halfsafe.fix(self.model, self.samples, rel_l2=1e-5).plan.to_json())

    def test_a_loader_in_another_order_each_time_is_walked_once(self):
        loader = Loader(self.samples)
        self.assertTrue(halfsafe.fix(self.model, loader).right)
        self.assertEqual(loader.walks, 1)

    def test_a_stream_that_only_seems_to_have_indices_is_walked(self):
        loader = StreamWithLength(self.samples)
        self.assertTrue(halfsafe.fix(self.model, loader).right)
        self.assertEqual(loader.walks, 1)

    def test_a_long_stream_goes_to_a_file(self):
        # 320 MiB, more than stays in memory.
        rows = 16384
        x = np.random.default_rng(2).normal(0, 2, (rows, models.WIDTH)).astype(np.float32)
        model = halfsafe.load(models.identity(shape=("n", models.WIDTH)))
        ranges = halfsafe.scan(model, (x + np.float32(index) for index in range(40)))
        self.assertEqual(ranges.samples, 40)
        self.assertEqual(ranges["x"].count, 40 * x.size)
        self.assertEqual(ranges["x"].max, (x + np.float32(39)).max())
        self.assertEqual(ranges["x"].min, x.min())
        self.assertEqual(ranges["x"].abs_max_sample, "samples[39]")

    def test_a_sequence_is_read_as_it_is_needed(self):
        shelf = Shelf(self.samples)
        halfsafe.scan(self.model, shelf)
        self.assertLessEqual(shelf.reads, len(shelf) + 2)  # Two more tell whether shapes are the same.

    def test_a_sequence_that_changes_is_refused(self):
        class Augmented(Shelf):
            def __getitem__(self, index):
                return {"x": self.elements[index]["x"] + np.float32(self.reads + super().__getitem__(index)["x"].size)}

        with self.assertRaisesRegex(halfsafe.InputError, r"samples\[0\] is not what it was"):
            halfsafe.fix(self.model, Augmented(self.samples))

    def test_inputs_go_by_name_and_by_place(self):
        model = halfsafe.load(models.product())
        a, b = (np.full((2, 8), value, np.float32) for value in (3, 5))
        forms = {
            "names": [{"b": b, "a": a}],
            "places": [(a, b)],
            "label behind": [(a, b, "a label")],
            "pair and label": [((a, b), 1)],
            "names and label": [({"b": b, "a": a}, 1)],
        }
        for name, samples in forms.items():
            with self.subTest(name):
                ranges = halfsafe.scan(model, samples)
                self.assertEqual((ranges["a"].max, ranges["b"].max, ranges["y"].max), (3, 5, 15))

    def test_every_type_arrives(self):
        values = [0, 1, 1, 0]
        for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
                     "float64"):
            with self.subTest(name):
                dtype = helper.np_dtype_to_tensor_dtype(np.dtype(name))
                model = halfsafe.load(models.identity(dtype))
                self.assertEqual(model.inputs[0].dtype, name)
                ranges = halfsafe.scan(model, np.array([values], name))
                if name.startswith("float"):
                    self.assertEqual((ranges["x"].count, ranges["x"].max), (4, 1))

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_bfloat16_of_ml_dtypes_arrives(self):
        model = models.identity(TensorProto.BFLOAT16)
        ranges = halfsafe.scan(model, np.array([[0.5, -3, 1, 2]], ml_dtypes.bfloat16))
        self.assertEqual((ranges["x"].min, ranges["x"].max), (-3, 2))

    def test_scalars_and_empty_arrays_arrive(self):
        scalar = halfsafe.load(models.identity(shape=()))
        self.assertEqual(halfsafe.scan(scalar, [np.float32(4), np.array(5, np.float32)])["x"].max, 5)
        empty = halfsafe.scan(halfsafe.load(models.identity()), np.zeros((0, 4), np.float32))
        self.assertEqual(empty["x"].count, 0)

    def test_what_does_not_fit_is_refused_with_what_was_expected(self):
        good = self.samples[0]["x"]
        cases = [
            ([good.astype(np.float64)], ["samples[0]", "'x'", "float64", "float32"]),
            ([good, good[:, 1:]], ["samples[1]", "'x'", "[32, 127]", "[?, 128]"]),
            ([{"y": good}], ["samples[0]", "a mapping of 'y'", "lacks input 'x'"]),
            ([(good, good, good)], ["samples[0]", "a tuple of 3", "1 inputs", "'x' float32[?, 128]"]),
            ([{"x": "text"}], ["samples[0]", "'x'"]),
            ([{"x": good.astype(complex)}], ["samples[0]", "'x'", "complex128"]),
            ([object()], ["samples[0]", "a object", "transform="]),
            ([None], ["samples[0]", "NoneType"]),
            ([np.full_like(good, np.nan)], ["samples[0]", "NaN"]),
            ([], ["no element"]),
            (iter([]), ["no element"]),
        ]
        for samples, parts in cases:
            with self.subTest(parts=parts), self.assertRaises(halfsafe.InputError) as raised:
                halfsafe.scan(self.model, samples)
            for part in parts:
                self.assertIn(part, str(raised.exception))
        with self.assertRaisesRegex(halfsafe.UsageError, "samples is a object"):
            halfsafe.scan(self.model, object())

    def test_bad_samples_can_be_left_out(self):
        good = self.samples[0]["x"]
        ranges = halfsafe.scan(self.model, [good, good[:, 1:], good], skip_bad_samples=True)
        self.assertEqual(ranges.samples, 2)
        self.assertEqual([skipped.name for skipped in ranges.skipped], ["samples[1]"])
        self.assertIn("[32, 127]", ranges.skipped[0].reason)
        with self.assertRaisesRegex(halfsafe.InputError, "none of the 1 samples"):
            halfsafe.scan(self.model, [good[:, 1:]], skip_bad_samples=True)

    def test_what_a_data_set_raises_comes_through(self):
        class Broken(Shelf):
            def __getitem__(self, index):
                if index == 2:
                    raise ZeroDivisionError("of the data set")
                return super().__getitem__(index)

        def stream():
            yield self.samples[0]
            raise ZeroDivisionError("of the stream")

        for samples in (Broken(self.samples), stream()):
            with self.assertRaisesRegex(ZeroDivisionError, "of the "):
                halfsafe.scan(self.model, samples)

    def test_files_are_those_of_the_command_line(self):
        with tempfile.TemporaryDirectory() as folder:
            for index, sample in enumerate(self.samples):
                np.savez(os.path.join(folder, f"{index}.npz"), **sample)
            ranges = halfsafe.scan(self.model, folder)
            self.assertEqual(ranges.samples, len(self.samples))
            self.assertTrue(ranges["x"].abs_max_sample.startswith(folder))
            with self.assertRaises(halfsafe.UsageError):
                halfsafe.scan(self.model, folder, transform=lambda element: element)
        with self.assertRaisesRegex(halfsafe.InputError, "nothing-here"):
            halfsafe.scan(self.model, "nothing-here")

    def test_a_checkpoint_is_gone_on_from(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint")

            def broken():
                raise ZeroDivisionError

            class Broken(Shelf):
                def __getitem__(self, index):
                    return broken() if index == 3 else super().__getitem__(index)

            with self.assertRaises(ZeroDivisionError):
                halfsafe.scan(self.model, Broken(self.samples), checkpoint=path)
            shelf = Shelf(self.samples)
            self.assertEqual(halfsafe.scan(self.model, shelf, checkpoint=path).to_json(), self.expected)
            self.assertLess(shelf.reads, len(shelf))


@unittest.skipIf(torch is None, "PyTorch is not installed")
class TorchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = halfsafe.load(models.overflowing())
        cls.samples = models.samples()
        cls.rows = torch.from_numpy(np.concatenate([sample["x"] for sample in cls.samples]))
        cls.data = torch.utils.data.TensorDataset(cls.rows, torch.arange(len(cls.rows)))
        cls.expected = halfsafe.scan(cls.model, cls.samples).to_json()

    def test_tensors_are_arrays(self):
        tensors = [torch.from_numpy(sample["x"]) for sample in self.samples]
        tensors[0].requires_grad_(True)
        self.assertEqual(halfsafe.scan(self.model, tensors).to_json(), self.expected)
        transposed = [tensor.detach().t().contiguous().t() for tensor in tensors]
        self.assertEqual(halfsafe.scan(self.model, transposed).to_json(), self.expected)
        model = models.identity(TensorProto.BFLOAT16)
        ranges = halfsafe.scan(model, torch.tensor([[0.5, -3, 1, 2]], dtype=torch.bfloat16))
        self.assertEqual((ranges["x"].min, ranges["x"].max), (-3, 2))

    def test_batches_of_a_loader_are_samples(self):
        loader = torch.utils.data.DataLoader(self.data, batch_size=models.ROWS)
        self.assertEqual(halfsafe.scan(self.model, loader).to_json(), self.expected)
        workers = torch.utils.data.DataLoader(self.data, batch_size=models.ROWS, num_workers=2)
        self.assertEqual(halfsafe.scan(self.model, workers).to_json(), self.expected)

    def test_a_shuffling_loader_is_walked_once(self):
        loader = torch.utils.data.DataLoader(self.data, batch_size=models.ROWS, shuffle=True)
        fix = halfsafe.fix(self.model, loader, rel_l2=1e-5)
        self.assertEqual(fix.ranges["x"].max, self.rows.max().item())
        self.assertTrue(fix.widenings)

    def test_a_data_set_is_read_as_it_is_needed(self):
        ranges = halfsafe.scan(self.model, self.data, transform=lambda element: element[0][None])
        self.assertEqual(ranges.samples, len(self.data))
        self.assertEqual(ranges["x"].max, self.rows.max().item())
        with self.assertRaisesRegex(halfsafe.InputError, r"\[128\], the model expects \[\?, 128\]"):
            halfsafe.scan(self.model, self.data)

    @unittest.skipUnless(torch is not None and torch.cuda.is_available(), "no GPU")
    def test_tensors_on_a_gpu_are_fetched(self):
        tensors = [torch.from_numpy(sample["x"]).cuda() for sample in self.samples]
        self.assertEqual(halfsafe.scan(self.model, tensors).to_json(), self.expected)


if __name__ == "__main__":
    unittest.main()
