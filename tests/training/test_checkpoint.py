"""What is saved comes back bit by bit, what does not fit is named, kills do no harm."""

import json
import os
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tfmlib.training.checkpoint import (
    average_weights,
    files,
    has_checkpoint,
    load_checkpoint,
    load_model,
    named_weights,
    preserved_rng,
    save_checkpoint,
    save_model,
    set_weights,
    states,
)
from tfmlib.training.optimizer import adamw


class Tied(nn.Module):
    """An embedding tied to the head, a norm with buffers, a parameter that no step reaches."""

    def __init__(self, seed=0, width=4):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(7, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Parameter(torch.randn(3))
        self.head = nn.Linear(width, 7)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.dropout(self.norm(self.embedding(ids))))


def step(model, optimizer):
    ids = torch.randint(0, 7, (16,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(ids), (ids + 1) % 7) * random.uniform(0.5, 2)
    loss.backward()
    optimizer.step()


def trained(seed=0, steps=3, **options):
    model = Tied(seed)
    optimizer = adamw(model, lr=0.01, **options)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def bits(model, optimizer):
    """Everything that a resumed run must have the same, as a comparable value."""
    tensors, described = states.optimizer_to_flat(optimizer, model)
    weights = {name: t.detach().clone() for name, t in named_weights(model).items()}
    values = {n: t.flatten().tolist() for n, t in {**weights, **tensors}.items()}
    return values, json.loads(json.dumps(described))


def test_going_on_after_loading_is_bitwise_the_same(tmp_path):
    model, optimizer = trained(weight_decay=0.1)
    save_checkpoint(tmp_path / "c", model, optimizer, {"step": 3})
    for _ in range(3):
        step(model, optimizer)
    again, again_optimizer = Tied(seed=9), None
    again_optimizer = adamw(again, lr=0.5)  # its settings come from the file
    torch.manual_seed(77)
    random.seed(77)
    assert load_checkpoint(tmp_path / "c", again, again_optimizer) == {"step": 3}
    for _ in range(3):
        step(again, again_optimizer)
    assert bits(again, again_optimizer) == bits(model, optimizer)
    assert again_optimizer.param_groups[0]["betas"] == (0.9, 0.98)


def test_the_folder_holds_three_plain_files_with_tied_weights_once(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "run" / "c", model, optimizer, {})
    files = {path.name for path in (tmp_path / "run" / "c").iterdir()}
    assert files == {"model.safetensors", "optimizer.safetensors", "state.json"}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["c"]
    weights = load_file(tmp_path / "run" / "c" / "model.safetensors")
    assert set(weights) == set(model.state_dict()) - {"head.weight"}
    moments = load_file(tmp_path / "run" / "c" / "optimizer.safetensors")
    assert {name.rsplit("/", 1)[0] for name in moments} == {
        "embedding.weight",
        "norm.weight",
        "norm.bias",
        "head.bias",
    }
    torch.testing.assert_close(
        moments["head.bias/exp_avg"], optimizer.state[model.head.bias]["exp_avg"], rtol=0, atol=0
    )


def test_moments_follow_names_not_places(tmp_path):
    """Groups in another order than when saved: refused, not mixed up."""
    model, optimizer = trained()
    save_checkpoint(tmp_path / "c", model, optimizer, {})
    other = torch.optim.AdamW(list(model.parameters())[::-1], lr=0.01)
    with pytest.raises(ValueError, match="other parameters"):
        load_checkpoint(tmp_path / "c", model, other)


def test_the_tie_is_kept_and_shared_on_loading(tmp_path):
    model, _ = trained()
    save_model(tmp_path / "m.safetensors", model)
    again = Tied(seed=5)
    load_model(tmp_path / "m.safetensors", again)
    assert again.head.weight is again.embedding.weight
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    untied = Tied(seed=5)
    untied.head.weight = nn.Parameter(torch.zeros(7, 4))
    with pytest.raises(ValueError, match=r"m.safetensors: tensor 'head.weight' is missing"):
        load_model(tmp_path / "m.safetensors", untied)


def test_a_compiled_model_is_saved_under_its_own_names():
    model = Tied()
    compiled = nn.Module()
    compiled._orig_mod = model  # as torch.compile wraps it
    assert set(named_weights(compiled)) == set(named_weights(model))


def test_views_and_other_layouts_can_be_saved(tmp_path):
    model = nn.Module()
    storage = torch.arange(12.0)
    model.a = nn.Parameter(storage[:6].view(2, 3).t())
    model.b = nn.Parameter(storage[6:])
    save_model(tmp_path / "m.safetensors", model)
    tensors = load_file(tmp_path / "m.safetensors")
    assert torch.equal(tensors["a"], model.a)
    assert torch.equal(tensors["b"], model.b)


@pytest.mark.usefixtures("own_errors")  # beartype draws from Python's generator
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape", "dtype", "nan", "inf"])
def test_a_tensor_that_does_not_fit_is_named_and_nothing_changes(tmp_path, file, damage):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "c", model, optimizer, {})
    name = "head.bias" + ("/exp_avg" if file.startswith("optimizer") else "")
    tensors = load_file(tmp_path / "c" / file)
    if damage == "missing":
        del tensors[name]
    elif damage == "unexpected":
        name = "stranger"
        tensors[name] = torch.zeros(2)
    elif damage == "shape":
        tensors[name] = tensors[name][:-1].clone()
    elif damage == "dtype":
        if file.startswith("optimizer"):
            return  # torch converts an optimizer's tensors to the type of the parameter
        tensors[name] = tensors[name].double()
    else:
        tensors[name][2] = float(damage)
    save_file(tensors, tmp_path / "c" / file)
    step(model, optimizer)
    before = bits(model, optimizer), torch.get_rng_state(), random.getstate()
    words = {"nan": "not finite", "inf": "not finite", "dtype": "float64", "shape": r"\(6,\)"}
    with pytest.raises(ValueError, match=f"{file}.*'{name}'.*{words.get(damage, damage)}"):
        load_checkpoint(tmp_path / "c", model, optimizer)
    after = bits(model, optimizer), torch.get_rng_state(), random.getstate()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(tmp_path, name, part):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "c", model, optimizer, {})
    content = (tmp_path / "c" / name).read_bytes()
    (tmp_path / "c" / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=f"{name}: truncated"):
        load_checkpoint(tmp_path / "c", model, optimizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "format version 2; this tfmlib reads 1"),
        ({"version": None}, "format version None"),
        ({"format": "something else"}, "not the state of a checkpoint"),
        ({"random": None}, "entry 'random' is missing"),
        ({"optimizer": {"type": "AdamW"}}, "entry 'groups' of the optimizer"),
        ({"random": {"torch": "AA=="}}, "random states cannot be restored"),
    ],
)
def test_a_state_that_cannot_be_read_is_named(tmp_path, change, message):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "c", model, optimizer, {})
    path = tmp_path / "c" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=f"state.json.*{message}"):
        load_checkpoint(tmp_path / "c", model, optimizer)


def test_another_optimizer_or_model_is_refused(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "c", model, optimizer, {})
    with pytest.raises(ValueError, match="of AdamW, not SGD"):
        load_checkpoint(tmp_path / "c", model, torch.optim.SGD(model.parameters(), lr=0.1))
    wider = Tied(width=5)
    other = adamw(wider, lr=0.1)
    with pytest.raises(ValueError, match=r"'embedding.weight' is \(7, 4\) .* expected \(7, 5\)"):
        load_checkpoint(tmp_path / "c", wider, other)
    with pytest.raises(ValueError, match="a parameter that the model does not"):
        save_checkpoint(tmp_path / "d", model, adamw(Tied(), lr=0.1), {})
    assert not (tmp_path / "d").exists()


def test_where_there_is_nothing_that_is_said(tmp_path):
    model, optimizer = trained(steps=0)
    assert not has_checkpoint(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "c", model, optimizer)
    with pytest.raises(FileNotFoundError, match=r"m\.safetensors: there is no such file"):
        load_model(tmp_path / "m.safetensors", model)


def test_saving_what_could_not_be_loaded_is_refused_and_the_old_stays(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path / "c", model, optimizer, {"step": 1})
    kept = bits(model, optimizer)
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"'head.bias' has values that are not finite"):
        save_checkpoint(tmp_path / "c", model, optimizer, {"step": 2})
    with pytest.raises(ValueError, match=r"'head.bias' has values that are not finite"):
        save_model(tmp_path / "m.safetensors", model)
    assert load_checkpoint(tmp_path / "c", model, optimizer) == {"step": 1}
    assert bits(model, optimizer) == kept


class Killed(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


def kill_at(monkeypatch, moment):
    """Break off at the `moment`-th touch of the disk, in the middle of it where it has one."""
    count = iter(range(1, 1000))

    def wrap(module, name, half=None):
        real = getattr(module, name)

        def touched(*arguments, **keywords):
            if next(count) == moment:
                if half:
                    half(real, *arguments, **keywords)
                raise Killed
            return real(*arguments, **keywords)

        monkeypatch.setattr(module, name, touched)

    def half_a_file(real, tensors, path):
        real(tensors, path)
        path.write_bytes(path.read_bytes()[:100])

    def half_a_folder(_, path):
        next(iter(sorted(path.iterdir()))).unlink()

    wrap(os, "replace")
    wrap(os, "fsync")
    wrap(shutil, "rmtree", half_a_folder)
    wrap(files, "save_file", half_a_file)


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_checkpoint(tmp_path):
    found = []
    for moment in range(1, 100):
        folder = tmp_path / str(moment) / "c"
        model, optimizer = trained(seed=1)
        contents = {}
        for number in (1, 2):  # the second save finds remains that it must clear up
            step(model, optimizer)
            contents[number] = bits(model, optimizer)
            save_checkpoint(folder, model, optimizer, {"number": number})
        step(model, optimizer)
        contents[3] = bits(model, optimizer)
        killed = False
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            try:
                save_checkpoint(folder, model, optimizer, {"number": 3})
            except Killed:
                killed = True
        assert has_checkpoint(folder)
        number = load_checkpoint(folder, model, optimizer)["number"]
        assert bits(model, optimizer) == contents[number]
        if not killed:
            assert number == 3
            break
        found.append(number)
        # And the next save works, whatever the kill has left lying about.
        save_checkpoint(folder, model, optimizer, {"number": 4})
        assert load_checkpoint(folder, model, optimizer) == {"number": 4}
        assert [p.name for p in folder.parent.iterdir()] == ["c"]
    # Writing, two renames, the removal of the old one: killed in all of them.
    assert len(found) >= 9
    assert set(found) == {2, 3}
    assert found == sorted(found)


def test_a_kill_while_weights_are_written_leaves_the_old_file(tmp_path):
    model, _ = trained()
    path = tmp_path / "m.safetensors"
    save_model(path, model)
    kept = path.read_bytes()
    with torch.no_grad():
        model.head.bias += 1
    for moment in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            with pytest.raises(Killed):
                save_model(path, model)
        assert path.read_bytes() == kept
    save_model(path, model)
    assert path.read_bytes() != kept
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_average_of_weights(tmp_path):
    models = [trained(seed=seed)[0] for seed in range(3)]
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, model in zip(paths, models, strict=True):
        save_model(path, model)
    mean = average_weights(paths)
    for name in named_weights(models[0]):
        values = torch.stack([named_weights(model)[name].double() for model in models])
        expected = values[-1] if name.endswith("num_batches_tracked") else values.mean(0)
        torch.testing.assert_close(mean[name].double(), expected, rtol=1e-7, atol=1e-8)
        assert mean[name].dtype == named_weights(models[0])[name].dtype
    set_weights(models[0], mean, source="the mean")
    assert models[0].head.weight is models[0].embedding.weight
    save_model(paths[1], Tied(width=5))
    with pytest.raises(ValueError, match=r"1.safetensors: tensor 'embedding.weight' is \(7, 5\)"):
        average_weights(paths)
    with pytest.raises(ValueError, match="no files"):
        average_weights([])


def test_preserved_rng_leaves_the_generators_as_they_were():
    torch.manual_seed(4)
    random.seed(4)
    expected = torch.rand(3), random.random()
    torch.manual_seed(4)
    random.seed(4)
    with preserved_rng():
        torch.rand(100)
        random.random()
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]
