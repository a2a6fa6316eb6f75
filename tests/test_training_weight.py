"""The toy of Pareto training's weight: it saturates, oscillates or settles, and is the formula that training uses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from drscale.recipe import Recipe
from drscale.runs import Run, RunStore
from drscale.training import plot as weights
from drscale.training.weight import behaviour, next_weight, resting_weight, simulate, trajectories, trajectory

SOME = st.floats(min_value=0.01, max_value=100)


def test_without_noise_the_weight_settles_where_the_ratio_meets_the_target() -> None:
    for omega_0 in (0.4, 0.5, 0.8, 1.2):
        course = simulate(omega_0, 0.02, noise=0, steps=3000)
        rest = resting_weight(omega_0)
        assert behaviour(course["omega"]).kind == "settles"
        assert course["omega"].iloc[-1] == pytest.approx(rest, abs=1e-3)
        assert course["ratio"].iloc[-1] == pytest.approx(1 / omega_0, rel=1e-3)


def test_a_target_out_of_reach_saturates_it() -> None:
    for omega_0, bound in ((0.15, 1.0), (6.0, 0.0)):
        assert not 0 <= resting_weight(omega_0) <= 1
        seen = behaviour(simulate(omega_0, noise=0)["omega"])
        assert (seen.kind, seen.mean) == ("saturates", bound)


def test_the_papers_step_oscillates_under_noise_and_a_smaller_one_settles() -> None:
    for seed in range(5):
        papers = behaviour(simulate(eta=0.1, noise=0.4, seed=seed)["omega"])
        calm = behaviour(simulate(eta=0.005, smooth=0.9, noise=0.4, seed=seed)["omega"])
        assert papers.kind == "oscillates"
        assert calm.kind == "settles"
        assert calm.spread < papers.spread / 3


def test_smoothing_alone_does_not_calm_it() -> None:
    spreads = [behaviour(simulate(smooth=s, seed=1)["omega"]).spread for s in (0.0, 0.9)]
    assert spreads[1] > spreads[0]  # an average comes late, and a late controller overshoots


@given(SOME, st.floats(0.001, 10), st.floats(0, 0.99), SOME, st.floats(0, 10), st.floats(0, 2), st.integers(0, 9))
def test_the_weight_stays_between_0_and_1(omega_0, eta, smooth, ratio, gain, noise, seed) -> None:
    course = simulate(omega_0, eta, smooth, ratio=ratio, gain=gain, noise=noise, steps=50, seed=seed)
    assert course["omega"].between(0, 1).all()
    assert list(course["step"]) == list(range(50))
    assert course.equals(simulate(omega_0, eta, smooth, ratio=ratio, gain=gain, noise=noise, steps=50, seed=seed))


@given(st.floats(0, 1), st.floats(0, 100), st.floats(0, 100), SOME, st.floats(0.001, 1))
def test_the_toy_moves_as_training_does(omega, effectiveness, robustness, omega_0, eta) -> None:
    from drscale.training import strategies as pareto

    given_both = (omega, effectiveness, robustness, omega_0, eta)
    assert next_weight(*given_both) == pareto.next_weight(*given_both)


def test_one_step_by_hand() -> None:
    assert next_weight(0.5, 3.0, 1.0, 0.5, 0.1) == pytest.approx(0.4)  # 0.5 - 0.1 (3 - 2)
    assert next_weight(0.5, 1.0, 1.0, 0.5, 0.1) == pytest.approx(0.6)
    assert next_weight(0.05, 9.0, 1.0, 0.5, 0.1) == 0.0
    assert next_weight(0.5, 1.0, 0.0, 0.5, 0.1) == 0.0
    assert math.isinf(resting_weight(0.2, gain=0))


def test_behaviour_is_judged_by_the_second_half() -> None:
    wild = np.tile([0.0, 1.0], 50)
    assert behaviour(np.concatenate([wild, np.full(100, 0.4)])).kind == "settles"
    assert behaviour(wild).kind == "oscillates"
    assert behaviour(np.ones(100)).kind == "saturates"
    assert (
        behaviour(np.tile([0.0, 0.0, 0.0, 0.15], 50)).kind == "saturates"
    )  # it only ever leaves the bound for a moment
    assert behaviour(np.tile([0.0, 0.0, 0.0, 1.0, 1.0], 50)).kind == "oscillates"


def test_a_weight_on_its_way_drifts() -> None:
    ramp = np.linspace(0, 1, 200)
    assert behaviour(ramp * 0.9).kind == "drifts"
    assert behaviour(ramp * 0.1).kind == "settles"
    assert behaviour(ramp * 0.9 + 0.2 * np.sin(np.arange(200))).kind == "oscillates"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"omega_0": 0}, "omega_0=0: must be above 0"),
        ({"eta": -1}, "eta=-1: must be above 0"),
        ({"smooth": 1}, r"smooth=1: must be in \[0, 1\)"),
        ({"lag": 0}, "lag=0: must be at least 1"),
        ({"steps": 0}, "steps=0: must be at least 1"),
    ],
)
def test_a_bad_number_is_named(change, said) -> None:
    with pytest.raises(ValueError, match=said):
        simulate(**change)
    with pytest.raises(ValueError, match="at least 2 finite numbers"):
        behaviour([0.5, math.nan])


def test_the_figure_of_weights_says_how_each_behaves_and_thins_without_flattening() -> None:
    long = np.zeros(5000)
    long[::2] = 1.0
    fig = weights.weight_figure({"swings": long, "stuck": np.zeros(60), "calm": np.full(60, 0.4)})
    titles = [a.text for a in fig.layout.annotations]
    assert [t.split(",")[0] for t in titles] == ["swings: oscillates", "stuck: saturates", "calm: settles"]
    swings = np.asarray(fig.data[0].y)
    assert len(swings) <= weights.MOST + 2
    assert all(set(swings[i : i + 3]) == {0, 1} for i in range(len(swings) - 2))  # both ends of every stretch
    with pytest.raises(ValueError, match="at least one run"):
        weights.weight_figure({})


def test_the_toy_explorer_redraws_says_what_happens_and_can_be_repeated_from_its_code() -> None:
    box = weights.weight_explorer()
    assert box.sentence.value.startswith("<p>The weight oscillates")
    box.controls["ratio"].value = min((v for _, v in box.controls["ratio"].options), key=lambda v: abs(v - 50))
    assert "it can only saturate" in box.sentence.value
    assert "saturates" in box.table.value
    names: dict[str, object] = {}
    exec(box.code.value.rsplit("\n", 1)[0], names)
    assert names["view"].sentence in box.sentence.value  # type: ignore[attr-defined]
    assert "Synthetic" in box.figure.layout.title.text
    with pytest.raises(ValueError, match="beta=1: allowed are omega_0"):
        weights.weight_explorer(beta=1)
    with pytest.raises(ValueError, match=r"gain=10: between 0.0 and 4.0"):
        weights.weight_explorer(gain=10)
    with pytest.raises(ValueError, match=r"lag=12.5: a whole number"):
        weights.weight_explorer(lag=12.5)


def test_a_label_says_how_the_losses_are_weighed() -> None:
    hard, adversarial = Recipe(strategy="hard_negative", share=0.5), Recipe(strategy="adversarial", share=0.5)
    assert weights.weight_label(Recipe()) == "standard"
    assert weights.weight_label(hard) == "hard negative"
    assert weights.weight_label(hard.but(share=0.75)) == "hard negative, share 0.75"
    assert weights.weight_label(adversarial.but(weight=3.0)) == "adversarial, weight 3"
    assert weights.weight_label(adversarial.but(balance="fixed", omega=0.25)) == "fixed weight 0.25"
    paper = adversarial.but(balance="pareto", variant="pairwise")
    assert weights.weight_label(paper) == "Pareto, ω₀ 0.5, step 0.1, pairwise"
    assert weights.weight_label(paper.but(smooth=0.9, variant="kl")) == "Pareto, ω₀ 0.5, step 0.1, smoothed 0.9"
    assert weights.weight_label(adversarial.but(balance="mgda")) == "MGDA"


def test_a_trajectory_is_judged_over_all_its_steps() -> None:
    gone = trajectory([0.5, 0.3, 0.1, 0, 0, 0, 0, 0, 0, 0.2])
    assert (gone.at_0, gone.at_1, gone.called) == (0.6, 0.0, "standard training")
    assert gone.mean == pytest.approx(0.11)
    assert gone.late_sd == pytest.approx(np.std([0, 0, 0, 0, 0.2]))
    stuck = trajectory([0.5, 0.8, 1, 1, 1])
    assert (stuck.at_0, stuck.at_1, stuck.called) == (0.0, 0.6, "robustness loss alone")
    steered = trajectory([0.0, 0.5, 0.4, 0.0, 1.0, 0.5])
    assert (steered.at_0, steered.called) == (pytest.approx(1 / 3), "both losses")
    assert trajectory([0, 0, 0.5, 0.5]).called == "both losses"  # half of the steps is not most of them
    with pytest.raises(ValueError, match="at least 2 finite numbers"):
        trajectory([math.nan, 0.2])


def test_runs_that_keep_their_weight_are_judged_and_called_what_they_are() -> None:
    recipe = Recipe(strategy="adversarial", share=0.5, balance="pareto")
    ran = Run(recipe, "done", omega=[0.5, 0.0, 0.0, 0.0])
    seen = trajectories([ran, Run(Recipe(), "done")])
    assert list(seen["key"]) == [ran.key]
    assert seen[["at_0", "called"]].to_numpy().tolist() == [[0.75, "standard training"]]
    assert trajectories([Run(Recipe(), "done")]).empty
    assert weights.weight_label(recipe, ran.omega) == weights.weight_label(recipe) + " (is standard training)"
    assert weights.weight_label(recipe, [1.0, 1.0, 0.5]) == weights.weight_label(recipe) + " (is robustness loss alone)"
    assert weights.weight_label(recipe, [0.5, 0.4]) == weights.weight_label(recipe)
    titles = [a.text for a in weights.weight_figure({"a": ran.omega, "b": [0.5, 0.4]}).layout.annotations]
    assert [t.endswith("which is standard training") for t in titles] == [True, False]


def test_the_gentle_runs_of_the_smallest_sizes_are_standard_training() -> None:
    runs = [r for r in RunStore(ROOT / "data" / "runs" / "docs-pareto").runs() if r.recipe.eta == 0.002]
    called = trajectories(runs).assign(rung=[r.recipe.rung for r in runs]).set_index("rung")["called"]
    assert set(called[["L2H12", "L2H16"]]) == {"standard training"}
    assert set(called[["L2H32", "L2H48", "L2H96"]]) == {"both losses"}
