"""Reference numbers for `stages::statistics`, by SciPy and statsmodels, with the inputs that they belong to.

    python3 stages/tests/reference/generate.py > stages/tests/reference/statistics.json

Needs `scipy` and `statsmodels`. `stages/tests/reference.rs` compares; it needs no Python.
"""

import json
import sys

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

# Of `stages::statistics::logistic`.
RIDGE = 1e-4


def student(rng):
    for df in [1, 1.37, 2, 3.5, 9, 40, 511, 10_000]:
        for p in [0.6, 0.9, 0.975, 0.995, 0.9999]:
            t = stats.t.ppf(p, df)
            yield {"df": df, "p": p, "quantile": t, "t": 0.7 * t, "p_value": 2 * stats.t.sf(0.7 * t, df)}


def holm(rng):
    for n in [1, 2, 5, 20]:
        p = rng.beta(0.3, 2, n).round(4)
        yield {"p": p.tolist(), "corrected": multipletests(p, method="holm")[1].tolist()}


def auc(rng):
    # On a grid, so that there are ties, of numbers that are exact in 32 bits.
    for n, m, grid in [(5, 7, 1024), (30, 40, 2), (200, 3, 1), (1, 1, 8)]:
        draw = lambda mean, k: (np.round(rng.normal(mean, 2, k) * grid) / grid + 0.0).tolist()
        positives, negatives = draw(0.7, n), draw(0, m)
        u = stats.mannwhitneyu(positives, negatives).statistic
        yield {"positives": positives, "negatives": negatives, "auc": u / (n * m)}


def partial_correlation(rng):
    for n in [3, 8, 100]:
        z = rng.normal(size=n)
        x, y = (0.8 * z + rng.normal(size=n) for _ in range(2))
        left = []
        for v in (x, y):
            line = stats.linregress(z, v)
            left.append(v - line.intercept - line.slope * z)
        r = stats.pearsonr(*left).statistic if n > 3 else np.sign(np.dot(*left))
        yield {"x": x.tolist(), "y": y.tolist(), "given": z.tolist(), "r": float(r)}


def logistic(rng):
    for n, slope in [(40, 0.0), (200, 1.5), (500, -0.7)]:
        x = np.tanh(rng.normal(0.3, 1, n))
        y = (rng.random(n) < 1 / (1 + np.exp(-0.4 - slope * x))).astype(float)
        y[rng.random(n) < 0.2] = 0.5
        design = sm.add_constant(x)
        # The family warns of outcomes that are no whole numbers, and its score is right for them.
        plain = sm.GLM(y, design, family=sm.families.Binomial()).fit(tol=1e-14)
        ridged = optimize.minimize(
            lambda b: np.sum(np.logaddexp(0, design @ b) - y * (design @ b)) + RIDGE / 2 * b @ b,
            plain.params,
            jac=lambda b: design.T @ (1 / (1 + np.exp(-design @ b)) - y) + RIDGE * b,
            method="BFGS",
            options={"gtol": 1e-10},
        )
        row = {"x": x.tolist(), "y": y.tolist()}
        yield row | {"glm": plain.params.tolist(), "ridged": ridged.x.tolist()}


def paired(rng):
    """One value for each seed: the t-test of two arms paired by seed."""
    for n in [2, 3, 10]:
        a, b = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
        test = stats.ttest_rel(a, b)
        low, high = test.confidence_interval(0.95)
        yield {"a": a.tolist(), "b": b.tolist(), "p": test.pvalue, "width": high - low}


def one_seed(rng):
    """One seed: the t-test of its items."""
    for n in [4, 60]:
        x = rng.normal(0.2, 1, n)
        test = stats.ttest_1samp(x, 0)
        low, high = test.confidence_interval(0.95)
        yield {"x": x.tolist(), "p": test.pvalue, "width": high - low}


def crossed(rng):
    """Seeds by items: mean squares by the two-way analysis of variance."""
    for s, n in [(2, 12), (5, 30)]:
        x = rng.normal(size=(s, 1)) + rng.normal(size=(1, n)) + rng.normal(size=(s, n))
        seed, item = (a.ravel().astype(str) for a in np.indices(x.shape))
        frame = {"x": x.ravel(), "seed": seed, "item": item}
        table = sm.stats.anova_lm(sm.formula.ols("x ~ C(seed) + C(item)", frame).fit())
        squares = table["mean_sq"]
        a, b, e = squares["C(seed)"], squares["C(item)"], squares["Residual"]
        yield {"x": x.tolist(), "mean_squares": [a, b, e], "variance": (a + b - e) / (s * n)}


def power(rng):
    for effect in [0.3, 1.0, 2.5]:
        for n in [2, 3, 5, 20, 100]:
            value = TTestPower().power(effect, n, 0.05, alternative="two-sided")
            # SciPy's noncentral t gives up far from 0, where the power is 1.
            if np.isfinite(value):
                yield {"noncentrality": effect * np.sqrt(n), "df": n - 1, "level": 0.05, "power": float(value)}


def seeds(rng):
    for effect in [0.4, 0.8, 1.3]:
        n = TTestPower().solve_power(effect, None, 0.05, 0.8, alternative="two-sided")
        yield {"effect": effect, "seeds": int(np.ceil(n))}


def main():
    parts = [student, holm, auc, partial_correlation, logistic, paired, one_seed, crossed, power, seeds]
    versions = {m.__name__: m.__version__ for m in (np, scipy, statsmodels)}
    reference = {"versions": versions}
    for i, part in enumerate(parts):
        reference[part.__name__] = list(part(np.random.default_rng(i)))
    # One case a line: a change shows where it is.
    lines = [f'"versions": {json.dumps(versions)}']
    for name in list(reference)[1:]:
        cases = ",\n  ".join(json.dumps(case, allow_nan=False) for case in reference[name])
        lines.append(f'"{name}": [\n  {cases}\n]')
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


main()
