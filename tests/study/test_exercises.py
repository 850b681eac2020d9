"""Exercises: the starter is not attempted, the reference earns all, every mutant is found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from featx.errors import FeatxError
from featx.freezing import freeze, param_groups
from featx.study.checking import exercise_faults, judge_source, namespace_of
from featx.study.exercises import STUB, _same_code, list_exercises, load_exercise
from featx.study.exercises._splits import row_numbers
from tests.helpers import small_resnet

EXERCISES = [load_exercise(exercise_id) for exercise_id in list_exercises()]

per_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)


def test_there_are_as_many_as_promised_in_every_lesson() -> None:
    assert len(EXERCISES) >= 30
    assert {exercise.lesson for exercise in EXERCISES} == set(range(1, 12))
    assert min(len(exercise.mutants) for exercise in EXERCISES) >= 3
    assert min(len(exercise.hints) for exercise in EXERCISES) >= 2


def test_the_practice_tasks_are_there() -> None:
    assert {
        "pretrained-features",
        "freeze-all-but-head",
        "identity-head-features",
        "train-only-the-head",
        "unfreeze-deeper",
    } <= set(list_exercises())


@per_exercise
def test_it_gives_what_an_exercise_owes(exercise) -> None:
    """The starter is not attempted, the reference earns all, each mutant is found out and named."""
    assert load_exercise(exercise.id) is exercise
    assert exercise_faults(exercise) == []
    assert "SOLUTION" not in exercise.solution
    assert exercise.starter.split("def ")[1].startswith(f"{exercise.entry}(")


@per_exercise
def test_starter_with_a_comment_is_still_not_attempted(exercise) -> None:
    source = exercise.starter.replace(STUB, "# I do not know yet\n\n")
    assert judge_source(exercise, source).status == "not_attempted"


@per_exercise
@pytest.mark.parametrize(
    "returned",
    [
        "None",
        "args[0]",
        "'text'",
        "0",
        # the right shape for pretrained-features, and nothing in it
        "torch.zeros(len(args[1]), args[0].fc.in_features)",
    ],
)
def test_doing_nothing_earns_nothing(exercise, returned: str) -> None:
    verdict = judge_source(exercise, f"def {exercise.entry}(*args, **kwargs): return {returned}")
    assert verdict.score == 0
    assert verdict.status in ("wrong", "error")


@per_exercise
def test_an_error_is_explained_with_the_learners_line(exercise) -> None:
    source = f"def {exercise.entry}(*args):\n    return missing_name"
    verdict = judge_source(exercise, source)
    assert (verdict.status, verdict.score) == ("error", 0.0)
    assert "stopped in line 2" in verdict.message
    assert "`NameError`: name 'missing_name' is not defined" in verdict.message
    assert "featx" not in verdict.message


@pytest.mark.parametrize(
    "statement", ["raise SystemExit(3)", "raise ValueError", "assert False, 'no'"]
)
def test_whatever_is_raised_becomes_a_verdict(statement: str) -> None:
    exercise = load_exercise("freeze-all-but-head")
    verdict = judge_source(
        exercise, f"def freeze_all_but_head(model, num_classes):\n    {statement}"
    )
    assert verdict.status == "error"


def test_an_error_that_only_announces_the_next_line_says_that_one_too() -> None:
    """torch's first line names the model and nothing that is wrong with it."""
    exercise = load_exercise("freeze-all-but-head")
    statement = "model.load_state_dict({'a': torch.zeros(1)})"
    verdict = judge_source(
        exercise, f"def freeze_all_but_head(model, num_classes):\n    {statement}"
    )
    assert "Error(s) in loading state_dict for ResNet: Missing key(s)" in verdict.message


def test_an_error_without_text_is_named_once() -> None:
    exercise = load_exercise("freeze-all-but-head")
    for statement in ("assert False", "raise _Mute", "raise AssertionError('  ')"):
        source = (
            "class _Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\n\n"
            f"def freeze_all_but_head(model, num_classes):\n    {statement}"
        )
        said = judge_source(exercise, source).message
        name = "_Mute" if "Mute" in statement else "AssertionError"
        assert said.endswith(f" with `{name}`.")


def test_not_implemented_is_not_attempted() -> None:
    exercise = load_exercise("freeze-all-but-head")
    source = "def freeze_all_but_head(model, num_classes):\n    raise NotImplementedError"
    assert judge_source(exercise, source).status == "not_attempted"


def test_a_broken_result_is_explained() -> None:
    exercise = load_exercise("identity-head-features")
    source = "def remove_head(model):\n    model.conv1 = None\n    return 512"
    verdict = judge_source(exercise, source)
    assert verdict.status == "error"
    assert "could not be used" in verdict.message


@pytest.mark.parametrize(
    ("namespace", "said"),
    [
        ({}, "there is no function named `freeze_all_but_head`"),
        ({"freeze_all_but_head": 3}, "`freeze_all_but_head` is a int, not a function"),
    ],
)
def test_a_missing_function_is_named(namespace: dict, said: str) -> None:
    exercise = load_exercise("freeze-all-but-head")
    verdict = exercise.judge(exercise.observe(namespace))
    assert (verdict.status, verdict.score) == ("not_attempted", 0.0)
    assert said in verdict.message


def test_warnings_and_stderr_cost_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = load_exercise("unfreeze-deeper")
    noisy = (
        "    import sys, warnings\n    warnings.warn('careful')\n    print('!', file=sys.stderr)\n"
    )
    body = exercise.solution.index('"""\n    for') + 4
    verdict = judge_source(exercise, exercise.solution[:body] + noisy + exercise.solution[body:])
    assert verdict.status == "correct"
    assert capsys.readouterr().err == ""


def test_global_random_state_is_left_alone() -> None:
    exercise = load_exercise("unfreeze-deeper")
    before = torch.get_rng_state()
    exercise.observe(namespace_of(exercise.solution), seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "body",
    [
        # a hook instead of Identity
        """
    taken = []
    handle = model.fc.register_forward_pre_hook(lambda module, args: taken.append(args[0]))
    with torch.inference_mode():
        model.eval()(images)
    handle.remove()
    return taken[0]""",
        # the layers without the head
        """
    layers = [layer for name, layer in model.named_children() if name != "fc"]
    return torch.flatten(nn.Sequential(*layers).eval()(images), 1).detach()""",
        # Identity, left in place
        """
    model.fc = nn.Identity()
    return model.eval()(images)""",
    ],
)
def test_other_ways_to_take_features_are_right_too(body: str) -> None:
    exercise = load_exercise("pretrained-features")
    assert judge_source(exercise, f"def features_of(model, images):{body}").status == "correct"


def test_features_that_only_lack_flatten_are_told_so() -> None:
    verdict = judge_source(
        load_exercise("pretrained-features"),
        """
def features_of(model, images):
    model.eval()
    with torch.no_grad():
        return nn.Sequential(*list(model.children())[:-1])(images)
""",
    )
    assert (verdict.misconception, verdict.score) == ("not-flattened", 0.75)
    assert "pooled already" in verdict.message


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ("model.fc = nn.Sequential()", True),
        ("model.fc = nn.Dropout(0.5)", True),  # eval() makes it hand on what comes in
        ("model.fc = nn.Identity(); model(torch.rand(2, 3, 64, 64))", True),
        ("model.fc = nn.Softmax(1)", False),
        ("model.fc = nn.Identity(); model.avgpool = nn.AdaptiveMaxPool2d(1)", False),
    ],
)
def test_features_are_judged_by_their_numbers(changes: str, same: bool) -> None:
    source = (
        f"def remove_head(model):\n    size = model.fc.in_features\n    {changes}\n    return size"
    )
    verdict = judge_source(load_exercise("identity-head-features"), source)
    assert (verdict.status == "correct") is same
    assert verdict.misconception == (None if same else "features-changed")


@pytest.mark.parametrize(
    "head",
    [
        "nn.Linear(512, num_classes, bias=False)",
        "nn.Sequential(nn.Dropout(0.2), nn.Linear(512, num_classes))",
    ],
)
def test_other_heads_are_right_too(head: str) -> None:
    exercise = load_exercise("freeze-all-but-head")
    source = exercise.solution.replace("nn.Linear(model.fc.in_features, num_classes)", head)
    assert source != exercise.solution
    assert judge_source(exercise, source).status == "correct"


def test_the_attribute_on_the_new_head_is_named() -> None:
    exercise = load_exercise("freeze-all-but-head")
    source = exercise.mutant("head-before-freeze").replace(
        "    return model", "    model.fc.requires_grad = True\n    return model"
    )
    assert judge_source(exercise, source).misconception == "attribute-on-module"


@pytest.mark.parametrize(
    ("old", "new", "misconception"),
    [
        ("SGD(trainable, lr=0.01)", "Adam(trainable, lr=0.01)", "not-sgd"),
        ("lr=0.01", "lr=0.0", "head-did-not-move"),
    ],
)
def test_the_step_is_one_of_sgd_that_moves_the_head(old: str, new: str, misconception: str) -> None:
    exercise = load_exercise("train-only-the-head")
    source = exercise.solution.replace(old, new)
    assert source != exercise.solution
    verdict = judge_source(exercise, source)
    assert (verdict.misconception, verdict.score) == (misconception, 0.8)


def test_an_optimizer_without_parameters_comes_from_the_frozen_head() -> None:
    """Torch says "empty parameter list"; the verdict names the mistake behind it."""
    source = """
def train_only_the_head(model, num_classes, images, labels):
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    for parameter in model.parameters():
        parameter.requires_grad = False
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
"""
    verdict = judge_source(load_exercise("train-only-the-head"), source)
    assert verdict.misconception == "head-before-freeze"


def test_without_the_freeze_the_rest_still_counts() -> None:
    exercise = load_exercise("train-only-the-head")
    source = exercise.mutant("backbone-still-trains").replace(
        "SGD(model.parameters()", "SGD(model.fc.parameters()"
    )
    verdict = judge_source(exercise, source)
    assert (verdict.misconception, verdict.score) == ("backbone-still-trains", 0.8)
    assert "the optimizer holds the head and nothing else" in verdict.message


def test_a_huge_rate_is_named_whatever_is_unfrozen() -> None:
    source = """
def unfreeze_deeper(model, head_lr):
    return torch.optim.SGD(model.requires_grad_(True).parameters(), lr=1.0)
"""
    verdict = judge_source(load_exercise("unfreeze-deeper"), source)
    assert verdict.misconception == "huge-learning-rate"
    assert "rate 1." in verdict.message


def test_layer4_learns_with_its_batchnorm_frozen_too() -> None:
    exercise = load_exercise("unfreeze-deeper")
    source = exercise.solution.replace(
        "requires_grad = True", "requires_grad = parameter.ndim == 4"
    )
    assert source != exercise.solution
    assert judge_source(exercise, source).status == "correct"


def test_the_starter_is_known_by_its_name() -> None:
    """Other code may come before the function's: since Python 3.14 that of its annotations."""
    starter = "def f(x, key=lambda y: y + 1):\n    # nothing yet\n    return x"
    namespace: dict[str, Any] = {}
    exec(starter, namespace)
    assert _same_code(namespace["f"].__code__, starter)
    exec(starter.replace("return x", "return x + 1"), namespace)
    assert not _same_code(namespace["f"].__code__, starter)


def test_featx_itself_solves_the_freezing_tasks() -> None:
    source = """
import featx
def freeze_all_but_head(model, num_classes):
    featx.freeze(model, except_=())
    return featx.replace_head(model, num_classes)
"""
    assert judge_source(load_exercise("freeze-all-but-head"), source).status == "correct"


def test_clearing_the_gradients_after_the_step_is_right_too() -> None:
    """A loop that clears the gradients after its step is as right as one that keeps them."""
    exercise = load_exercise("train-only-the-head")
    source = exercise.solution.replace(
        "    optimizer.step()\n", "    optimizer.step()\n    optimizer.zero_grad()\n"
    )
    assert judge_source(exercise, source).status == "correct"


def test_a_folder_may_be_listed_by_keyword() -> None:
    exercise = load_exercise("list-image-folder")
    loop = "Path(folder).iterdir()"
    for other in (
        "map(Path(folder).joinpath, os.listdir(path=folder))",
        "[Path(entry) for entry in os.scandir(path=folder)]",
    ):
        source = "import os\n\n\n" + exercise.solution.replace(loop, other)
        assert other in source
        assert judge_source(exercise, source).status == "correct"


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ("[3, 0]", [3, 0]),
        ("(3, 0)", [3, 0]),
        ("{3}", [3]),
        ("range(2)", [0, 1]),
        ("[]", []),
        ("torch.zeros(0)", []),
        ("np.array([3, 0])", [3, 0]),
        ("np.array([])", []),
        ("np.array([3.0, 0.0])", None),
        ("[3.0, 0.0]", None),
        ("torch.tensor([3.0])", None),
        ("torch.tensor([3, 0])", [3, 0]),
        ("[torch.tensor(3), torch.tensor([0])]", [3, 0]),
        ("[np.int64(3), 0]", [3, 0]),
        ("torch.utils.data.Subset(torch.arange(9), [3, 0])", [3, 0]),
        ("[True, False]", None),
        ("[np.bool_(True)]", None),
        ("np.array([True, False])", None),
        ("torch.tensor([True, False])", None),
        ("[torch.tensor(True)]", None),
        ("[0.5]", None),
        ("[float('nan')]", None),
        ("[[3, 0]]", None),
        ("torch.arange(4).reshape(2, 2)", None),
        ("['a']", None),
        ("[None]", None),
        ("'30'", None),
        ("None", None),
        ("3", None),
        ("range(30_000)", None),
    ],
)
def test_row_numbers_are_read_in_one_way(value: str, rows: list[int] | None) -> None:
    assert row_numbers(eval(value, {"np": np, "torch": torch})) == rows


def test_a_mask_is_no_list_of_indexes() -> None:
    for mask in ("np.ones(len(test), dtype=bool)", "torch.ones(len(test), dtype=bool)"):
        source = f"import numpy as np\n\n\ndef copies_across_split(train, test):\n    return {mask}"
        verdict = judge_source(load_exercise("copies-across-split"), source)
        assert verdict.misconception == "not-indexes"


def test_unknown_exercise_lists_close_matches() -> None:
    with pytest.raises(FeatxError, match="Close matches: freeze-all-but-head"):
        load_exercise("freeze-all-but-heads")


@pytest.mark.parametrize("exercise_id", [3, None])
def test_an_id_that_is_no_text_is_named(exercise_id: Any) -> None:
    with pytest.raises(FeatxError, match=f"Expected the id of an exercise, got {exercise_id}"):
        load_exercise(exercise_id)


def test_what_the_rates_are_praised_with_is_true_of_param_groups() -> None:
    model = freeze(small_resnet(), except_=["conv1", "bn1", "layer1", "head"])
    rates = {group["name"]: group["lr"] for group in param_groups(model, lr=1.0, decay=0.5)}
    assert rates["bn1"] == rates["conv1"] < rates["layer1"]
    exercise = load_exercise("discriminative-rates")
    praise = judge_source(exercise, exercise.solution).message
    assert "does the same for any model." in praise
    assert "two stages" not in praise
