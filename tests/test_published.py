"""The papers' figures against a second transcription, and the audit against brute force."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from crackutils.losses import LOSSES, loss_from_logits, optimal_prediction, posterior
from crackutils.papers import published

COLUMNS = "loss,weight,threshold,precision,recall,accuracy,f1_score"

# Typed a second time, in the short notation: weight, threshold, precision recall accuracy F1.
TYPED = {
    1: ("mse", """- .1 .806 .922 .988 .86
                  - .4 .949 .875 .993 .91
                  - .75 .986 .807 .992 .888
                  - .9 .994 .742 .989 .85"""),
    4: ("balanced_step", """.69 .9 .94 .871 .992 .904
                            .83 .9 .945 .875 .993 .909
                            .9 .9 .884 .898 .991 .891
                            .97 .9 .784 .934 .987 .852"""),
    5: ("squared_balanced_step", """.2 .75 .864 .873 .989 .869
                                    .3 .75 .947 .828 .991 .883
                                    .5 .75 .884 .901 .991 .892
                                    .7 .75 .849 .92 .99 .883"""),
    6: ("step", """.5 .5 .863 .916 .991 .889
                   .69 .5 .908 .892 .992 .9
                   .97 .5 .887 .907 .991 .896
                   1.3 .5 .885 .906 .991 .895"""),
    7: ("relu", """.5 .5 .898 .88 .991 .889
                   .69 .5 .929 .926 .994 .927
                   .97 .5 .936 .921 .994 .928
                   1.3 .5 .926 .909 .993 .917"""),
}
BEST = [("mse", "-", ".4 .949 .875 .993 .91"),
        ("balanced_step", ".83", ".9 .945 .875 .993 .909"),
        ("squared_balanced_step", ".5", ".75 .884 .901 .991 .892"),
        ("step", ".69", ".5 .908 .892 .992 .9"),
        ("relu", ".97", ".5 .936 .921 .994 .928")]
IOU = """Tversky(α, β = 0.3) | tversky | 0.3 0.3 | 49.34
Dice | dice | | 48.53
Tversky(α, β = 0.2) | tversky | 0.2 0.2 | 48.53
BCE-Dice (0.25:1) | bce_dice | 0.25 1 | 46.88
BCE | bce | | 46.87
BCE-Dice (0.43:1) | bce_dice | 0.43 1 | 45.97
BCE-Dice (1:1) | bce_dice | 1 1 | 44.57"""

MEASURES = ["precision", "recall", "accuracy", "f1_score"]
WEIGHTS = st.sampled_from([("mse", None), ("bce", None), ("balanced_step", 0.83),
                           ("squared_balanced_step", 0.5), ("squared_balanced_step", 1.3),
                           ("step", 1.3), ("relu", 0.5), ("relu", 1.3),
                           ("weighted_bce", 10.8), ("focal", 2.0)])
INSIDE = st.floats(0.01, 0.99)
steady = settings(max_examples=30, deadline=None, derandomize=True)


def as_printed(loss: str, figures: str) -> str:
    numbers = ["" if n == "-" else "0" + n if n[0] == "." else n for n in figures.split()]
    return ",".join([loss, *numbers])


@pytest.mark.parametrize("number", TYPED)
def test_each_table_equals_its_second_transcription(number):
    loss, lines = TYPED[number]
    text = (published.PUBLISHED / f"table{number}.csv").read_text()
    assert text.splitlines() == [COLUMNS, *(as_printed(loss, line) for line in lines.splitlines())]


def test_table_8_and_the_iou_table_equal_their_second_transcription():
    text = (published.PUBLISHED / "table8.csv").read_text()
    assert text.splitlines() == [
        COLUMNS, *(as_printed(loss, f"{weight} {rest}") for loss, weight, rest in BEST)]
    rows = published.iou_table()
    assert list(rows.columns) == ["loss", "weight", "label", "iou"]
    for row, line in zip(rows.itertuples(), IOU.splitlines(), strict=True):
        label, loss, weight, percent = (part.strip() for part in line.split("|"))
        assert (row.label, row.loss, f"{row.iou:.4f}") == (label, loss, f"0.{percent[:2]}"
                                                           f"{percent[3:]}")
        assert row.weight == (tuple(map(float, weight.split())) or None)


def test_table_reads_numbers_and_refuses_what_the_paper_does_not_have():
    assert published.table(1)["weight"].isna().all()
    assert published.table(7)["weight"].tolist() == [0.5, 0.69, 0.97, 1.3]
    with pytest.raises(ValueError, match="Tables 1 and 4 to 8, got 2"):
        published.table(2)


def test_table_8_repeats_the_best_row_of_each_other_table():
    rows = published.distinct_rows()
    best = rows.loc[rows.groupby("loss", sort=False)["f1_score"].idxmax()].reset_index(drop=True)
    pd.testing.assert_frame_equal(best.drop(columns="table"), published.table(8))


def test_every_row_fits_one_crack_share():
    """P, R, accuracy and F1 of all 20 rows within rounding of one confusion matrix each."""
    rows = published.distinct_rows()
    assert len(rows) == 20
    share = 0.0411
    for row in rows.itertuples():
        limits = [np.linspace(value - 0.0005, value + 0.0005, 101)
                  for value in (row.precision, row.recall)]
        precision, recall = np.meshgrid(*limits)
        true, missed = recall * share, (1 - recall) * share
        alarms = true * (1 - precision) / precision
        f1 = 2 * true / (2 * true + alarms + missed)
        accuracy = 1 - alarms - missed
        fits = (abs(f1 - row.f1_score) <= 0.0005) & (abs(accuracy - row.accuracy) <= 0.0005)
        assert fits.any(), row


@pytest.mark.parametrize("columns", [MEASURES[:3], MEASURES])
def test_crack_share_interval_equals_a_grid_search(columns):
    for row in published.distinct_rows()[columns].itertuples(index=False):
        ends = [np.linspace(value - 0.0005, value + 0.0005, 201) for value in row[:2]]
        precision, recall = np.meshgrid(*ends)
        if len(columns) == 4:
            f1 = 2 / (1 / precision + 1 / recall)
            keep = abs(f1 - row.f1_score) <= 0.0005
            precision, recall = precision[keep], recall[keep]
        wrong = 1 - recall + recall * (1 - precision) / precision  # per crack pixel
        low, high = published.crack_share_interval(*row)
        assert low == pytest.approx((1 - row.accuracy - 0.0005) / wrong.max(), rel=2e-4)
        assert high == pytest.approx((1 - row.accuracy + 0.0005) / wrong.min(), rel=2e-4)
        assert low <= (1 - row.accuracy - 0.0005) / wrong.max() + 1e-12
        assert high >= (1 - row.accuracy + 0.0005) / wrong.min() - 1e-12


@steady
@given(st.integers(3_000, 9_000), st.integers(0, 2_000), st.integers(0, 2_000),
       st.integers(50_000, 900_000))
def test_the_true_share_lies_in_the_interval_of_the_rounded_figures(hits, alarms, missed, right):
    pixels = hits + alarms + missed + right
    printed = [round(figure, 3) for figure in (
        hits / (hits + alarms), hits / (hits + missed), (hits + right) / pixels,
        2 * hits / (2 * hits + alarms + missed))]
    low, high = published.crack_share_interval(*printed)
    assert low - 1e-9 <= (hits + missed) / pixels <= high + 1e-9
    low, high = published.f1_bounds(printed[0], printed[1], printed[3])
    assert low - 1e-9 <= 2 * hits / (2 * hits + alarms + missed) <= high + 1e-9


def test_figures_that_contradict_each_other_leave_an_empty_interval():
    low, high = published.crack_share_interval(0.9, 0.9, 0.99, 0.95)
    assert low > high
    low, high = published.f1_bounds(0.9, 0.9, 0.95)
    assert low > high


def test_class_weights_by_hand():
    assert published.class_weights("balanced_step", 0.5) == pytest.approx((1.5, 0.5))
    assert published.class_weights("squared_balanced_step", 0.5) == pytest.approx((2.25, 0.25))
    assert published.class_weights("step", 0.5) == pytest.approx((1.5, 1))
    assert published.class_ratio("mse") == 1
    assert published.class_ratio("squared_balanced_step", 1) == np.inf
    assert published.class_ratio("squared_balanced_step", 2) == pytest.approx(9)
    with pytest.raises(ValueError, match="'relu' is no class-weighted"):
        published.class_ratio("relu", 0.5)


@steady
@given(st.integers(0, 10_000), st.floats(0, 0.99))
def test_squared_and_step_are_balanced_step_on_any_tensor(seed, weight):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(4, 5, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    target = torch.randint(0, 2, (4, 5), generator=generator).double()
    identities = {"squared_balanced_step": (1 + weight**2, 2 * weight / (1 + weight**2)),
                  "step": (1 + weight / 2, weight / (2 + weight))}
    for loss, (scale, equal) in identities.items():
        assert published.as_balanced_step(loss, weight) == pytest.approx((scale, equal))
        value = LOSSES[loss](prediction, target, weight=weight).item()
        same = scale * LOSSES["balanced_step"](prediction, target, weight=equal).item()
        assert value == pytest.approx(same)


def test_balanced_step_is_twice_the_expectile_loss():
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 1000, generator=generator, dtype=torch.float64)
    error, tau = target - prediction, (1 + 0.83) / 2
    expectile = torch.where(error > 0, tau, 1 - tau) * error**2
    balanced = LOSSES["balanced_step"](prediction, target, weight=0.83)
    assert balanced.item() == pytest.approx(2 * expectile.mean().item())


@steady
@given(WEIGHTS, INSIDE)
def test_the_optimal_prediction_minimises_the_expected_loss(chosen, q):
    loss, weight = chosen

    def expected(p):
        value = torch.tensor([p], dtype=torch.float64)
        return sum(share * LOSSES[loss](value, torch.full_like(value, label), weight=weight).item()
                   for share, label in ((q, 1.0), (1 - q, 0.0)))

    best = minimize_scalar(expected, bounds=(0, 1), method="bounded", options={"xatol": 1e-7}).x
    optimal = float(optimal_prediction(loss, q, weight))
    assert optimal == pytest.approx(best, abs=2e-5)
    assert float(posterior(loss, optimal, weight)) == pytest.approx(q, abs=1e-7)


@steady
@given(INSIDE, st.floats(0, 3))
def test_closed_forms_of_the_optimal_prediction(p, weight):
    assert posterior("relu", p, weight) == pytest.approx(
        2 * p / (2 + 3 * weight * (1 - p) ** 2))
    k = published.class_ratio("step", weight)
    assert k == pytest.approx(1 + weight)
    assert optimal_prediction("step", p, weight) == pytest.approx(
        k * p / (k * p + 1 - p))


@steady
@given(st.lists(st.floats(0.01, 1), min_size=19, max_size=19), WEIGHTS)
def test_the_best_cut_of_the_posterior_is_half_the_best_f1(masses, chosen):
    """Every cut of 19 posterior levels tried: F1 is best at F*/2, and at t* after any loss."""
    q, mass = np.linspace(0.05, 0.95, 19), np.array(masses)
    scores = [2 * (mass * q)[kept].sum() / ((mass * q).sum() + mass[kept].sum())
              for kept in (q >= cut for cut in q)]
    best = max(scores)
    loss, weight = chosen
    outputs = optimal_prediction(loss, q, weight)
    for levels, threshold in ((q, best / 2),
                              (outputs, published.best_threshold(loss, best, weight))):
        kept = levels >= threshold - 1e-9
        reached = 2 * (mass * q)[kept].sum() / ((mass * q).sum() + mass[kept].sum())
        assert reached == pytest.approx(best)


def test_losses_without_a_best_prediction_of_one_pixel_are_refused():
    with pytest.raises(ValueError, match="'dice' has no best prediction"):
        posterior("dice", 0.5)


def test_mixing_two_thresholds_gives_the_f1_of_the_pooled_counts():
    curve = pd.DataFrame({"precision": [0.5, 0.9], "recall": [0.9, 0.6], "f1_score": [0, 0]})
    # 100 cracks; a fair coin between TP 90, FP 90 and TP 60, FP 6.667 gives TP 75, FP 48.333
    mixed = published.f1_at_recall(0.75, curve)
    assert mixed == pytest.approx(150 / (150 + 48.3333 + 25), abs=1e-6)
    assert np.isnan(published.f1_at_recall(0.95, curve))


def test_only_relu_rows_lie_above_the_curve_of_mse():
    rows, curve = published.distinct_rows(), published.table(1)
    least = [published.gain_bounds(row, curve)[0] for _, row in rows.iterrows()]
    above = rows[np.array(least) > 0]
    assert above[["loss", "weight"]].values.tolist() == [["relu", 0.69], ["relu", 0.97],
                                                         ["relu", 1.3]]
    # .927 - .9105 and, where P and R say more than F1, 2 * .9355 * .9205 / 1.856 - .9105
    assert max(least) == pytest.approx(2 * 0.9355 * 0.9205 / 1.856 - 0.9105, abs=1e-6)


@pytest.mark.parametrize(("loss", "weight"), [("mse", None), ("bce", None), ("relu", 0.97)])
def test_logit_gradient_equals_a_finite_difference(loss, weight):
    for p, label in itertools.product((0.1, 0.4, 0.8), (0.0, 1.0)):
        logit = torch.logit(torch.tensor([p], dtype=torch.float64))
        low, high = (loss_from_logits(loss, logit + side, torch.tensor([label]), weight=weight)
                     for side in (-0.01, 0.01))
        slope = abs((high - low).item()) / 0.02
        assert published.logit_gradient(loss, p, label, weight) == pytest.approx(slope, rel=2e-3)


def test_a_saturated_mse_has_a_fiftieth_of_the_gradient_of_bce():
    assert published.logit_gradient("mse", 0.01, 1) == pytest.approx(2 * 0.99**2 * 0.01, rel=1e-4)
    assert published.logit_gradient("bce", 0.01, 1) == pytest.approx(0.99, rel=1e-4)


@steady
@given(st.integers(0, 10_000), st.floats(0.05, 2))
def test_tversky_with_equal_weights_is_a_function_of_the_soft_iou(seed, both):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(1, 1, 6, 6, generator=generator)
    target = (torch.rand(1, 1, 6, 6, generator=generator) < 0.4).float()
    target[..., 0, 0] = 1
    overlap = (prediction * target).sum()
    soft_iou = (overlap / (prediction.sum() + target.sum() - overlap)).item()
    value = LOSSES["tversky"](prediction, target, weight=(both, both)).item()
    assert published.tversky_index(soft_iou, both) == pytest.approx(1 - value, abs=1e-5)


def test_the_differences_that_paper_b_states():
    difference = published.iou_difference
    best = "Tversky(α, β = 0.3)"
    assert [difference(best, other) for other in ("Dice", "BCE", "BCE-Dice (1:1)")] == [
        0.81, 2.47, 4.77]
    assert difference("Dice", "BCE-Dice (0.25:1)") == 1.65
    # the 3.96 that the text gives to BCE-Dice(0.25:1) belongs to Dice
    assert difference("BCE-Dice (0.25:1)", "BCE-Dice (1:1)") == 2.31
    assert difference("Dice", "BCE-Dice (1:1)") == 3.96
    shares = [published.dice_share(row.loss, row.weight)
              for row in published.iou_table().itertuples()]
    assert shares == [None, 1, None, pytest.approx(0.8), 0, pytest.approx(1 / 1.43), 0.5]
