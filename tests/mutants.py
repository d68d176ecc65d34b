"""How many planted faults the tests notice: mutants by cosmic-ray, drawn at random and judged one by one.

No test: `python tests/mutants.py clipping --count 25 --seed 0` draws 25 places of `gradjax/clipping` and one mutation
of each (`+` becomes `-`, `<` becomes `<=`, a number is one off, a `not` is gone, a loop is never entered), plants each
in a copy of the tree, runs the tests below on it until the first one fails, and prints a line a mutant and the share
killed. What it found stands in `mutants.txt`, every survivor with its reason.

The draw is made hard on purpose. A place counts once however many mutations it allows, and no mutant is drawn that
falls by its type alone: annotations are left out, and an operator becomes one of its own kind, since `a + b` made
`a >> b` raises on floats whatever the tests say. A mutant that takes more than three times the processor time of the
tests without it hangs, and is killed. Tests that fail without a mutant stop the run: they would kill everything.
"""

import argparse
import ast
import functools
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import jax
import mpmath  # noqa: F401 (these take longer to load than most mutants live)
import optax  # noqa: F401
import pytest
import scipy.integrate  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
KINDS = (  # of operators; a mutant stays within one
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitAnd", "BitOr", "BitXor"},
    {"LShift", "RShift"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"In", "NotIn"},
)
ROWS = "tests/test_theory_meets_measurement.py"  # of which a module's own rows are run
FILES = {  # beginning of a module's name -> test files (and which of their tests) that judge it; the longest one counts
    "clipping.advice": ("clipping: advice or bad_arguments",),
    "clipping.following": ("clipping: percentiles or autoclip or zclip or not_remembered or bad_arguments",),
    "clipping.global_norm": ("clipping: our_clip or mixed or direction_is_marked or percentiles or bad_arguments",),
    "clipping.responses": ("clipping: tabulated",),
    "clipping.table": ("clipping: tabulated or declared or mapped or bad_arguments",),
    "clipping.observed": ("clipping_observed",),
    "clipping.choice": ("clipping_observed",),
    "products": ("products_parts", "products", "products_properties: scaling or determinants", "products_truth"),
    "products.covariant": ("products_parts", "products: vectors", "products_symmetric", "products_derivatives"),
    "products.derivative": ("products_parts", "products: vectors", "products_symmetric", "products_derivatives"),
    "products.vectors": ("products: vectors", "products_derivatives"),
    "products.doubled": ("products_doubled", "products_truth"),
    "products.exact": ("products_parts", "products_exact", "products_truth"),
    "products.factors": ("products: bad or prefixes or runs or numpy",),
    "products.pattern": ("products_parts", "products_doubled: kept", "products_truth: ranks"),
    "products.plan": ("products_parts", "products: prefixes or runs or zero or vectors"),
    "products.wide": ("products_parts", "products", "products_underflow"),
    "products.scales": ("products_exact", "products_traced"),
    "spectra": ("spectra",),
    "theory.finite_width": ("theory_finite_width",),
    "theory.special": ("theory_finite_width",),
    "theory.learning": ("theory_learning",),
    "theory.normalization": ("theory_normalization",),
    "theory.quadrature": ("theory_quadrature", "theory_meanfield"),
    "theory.recurrent": ("theory_recurrent",),
    "theory.residual": ("theory_residual",),
    "theory.shattering": ("theory_residual",),
    "theory.isometry": ("theory_isometry", "theory_isometry_limits"),
    "theory.meanfield": ("theory_meanfield", "theory_accuracy"),
    "theory.meanfield.correlation": ("theory_correlation",),
    "theory.meanfield.curvature": ("theory_correlation: curvature", "theory_meanfield: second"),
    "theory.meanfield.length": ("theory_length", "theory_meanfield"),
    "theory.meanfield.phase": ("theory_correlation: phase or diagram",),
    "theory.meanfield.transient": ("theory_transient",),
}


class Mutant(NamedTuple):
    """One mutation of one place."""

    path: Path  # below the root
    line: int
    operator: str  # cosmic-ray's name for it
    occurrence: int  # counted over the file


def drawn(package: str, count: int, seed: int) -> list[Mutant]:
    """That many places of a package, or all there are, and one mutation of each."""
    folder = ROOT / "gradjax" / package
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    places = [group for path in paths for group in mutations(path.relative_to(ROOT))]
    generator, chosen = random.Random(seed), []
    for group in generator.sample(places, len(places)):
        whole = [mutant for mutant in group if is_whole(mutant)] if len(chosen) < count else []
        chosen += [generator.choice(whole)] if whole else []
    print(f"{package}: {len(chosen)} of {len(places)} places, seed {seed}", flush=True)
    return sorted(chosen)


def mutations(path: Path) -> list[list[Mutant]]:
    """The fair mutations of a file, those of one place together."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    source, found = (ROOT / path).read_text(), {}
    tree, skipped = get_ast(source), annotations(source)
    for name in sorted(filter(fair, plugins.operator_names())):
        operator = plugins.get_operator(name)
        if operator.arguments():  # a variable by another: such need names
            continue
        starts = (start for node in ast_nodes(tree) for start, _ in operator().mutation_positions(node))
        for occurrence, start in enumerate(starts):
            if not any(begin <= start < end for begin, end in skipped):
                found.setdefault(start, []).append(Mutant(path, start[0], name, occurrence))
    return [found[start] for start in sorted(found)]


def mutated(source: str, mutant: Mutant) -> str:
    """The source of its file with the mutation."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    return mutate_code(source, plugins.get_operator(mutant.operator)(), mutant.occurrence)


def is_whole(mutant: Mutant) -> bool:
    """Whether the mutation leaves Python with the same signatures: the star of a signature is no product."""

    source = (ROOT / mutant.path).read_text()

    def signatures(source: str) -> list[int]:
        return [len(node.kwonlyargs) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.arguments)]

    try:
        return signatures(mutated(source, mutant)) == signatures(source)
    except SyntaxError:
        return False


def fair(operator: str) -> bool:
    """Whether the mutation is not one of an operator by one of another kind."""
    pair = operator.split("_")[1:]
    return len(pair) != 2 or operator.startswith("core/ReplaceUnary") or any(kind.issuperset(pair) for kind in KINDS)


def annotations(source: str) -> list[tuple]:
    """Where annotations begin and end, as (line, column)."""
    nodes = [
        getattr(node, name)
        for node in ast.walk(ast.parse(source))
        for name in ("annotation", "returns")
        if getattr(node, name, None) is not None
    ]
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes]


def command(path: Path) -> tuple[str, ...]:
    """What pytest is told for a mutant of this file: its own doctests first, then the tests that judge it."""
    module = ".".join(path.with_suffix("").parts[1:])
    chosen = FILES[max((begin for begin in FILES if module.startswith(begin)), key=len)]
    own = f"{module.removeprefix('theory.')}."  # as in the names of doctests and of rows
    files, wanted = [ROWS] if module.startswith("theory") else [], [own]
    for stem, _, words in (choice.partition(": ") for choice in chosen):
        files.append(f"tests/test_{stem}.py")
        wanted.append(f"(test_{stem}.py and ({words}))" if words else f"test_{stem}.py")
    return str(path), *files, "-k", " or ".join(wanted)


def run(copy: Path, words: tuple[str, ...], limit: float) -> tuple[int, float, str]:
    """pytest's exit code in the copy, its processor time and its last lines; out of processor time it is ended.

    In a fork of this process, which has loaded what takes long and none of gradjax.
    """
    said = copy / "said.txt"
    child = os.fork()
    if not child:
        code = 70
        try:
            os.chdir(copy)
            sys.path.insert(0, str(copy))
            with said.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
            code = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *words])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    return status, usage.ru_utime + usage.ru_stime, said.read_text()[-2000:]


@functools.cache
def baseline(copy: Path, words: tuple[str, ...]) -> float:
    """The processor time of the tests without a mutant; SystemExit where they fail."""
    code, seconds, said = run(copy, words, 1200)
    if code:
        raise SystemExit(f"pytest {' '.join(words)} fails without a mutant:\n{said}")
    return seconds


def judged(mutant: Mutant, copy: Path) -> tuple[str, str]:
    """'killed', 'hangs' or 'survived', and the mutated line."""
    words, target = command(mutant.path), copy / mutant.path
    seconds, source = baseline(copy, words), target.read_text()
    changed = mutated(source, mutant)
    lines = zip(source.splitlines(), changed.splitlines(), strict=False)
    shown = next((after.strip() for before, after in lines if before != after), "a line is gone")
    target.write_text(changed)
    try:
        code, used, _ = run(copy, words, 30 + 3 * seconds)
    finally:
        target.write_text(source)
    return ("survived" if code == 0 else "hangs" if used > 30 + 3 * seconds - 1 else "killed"), shown


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "package", help="below gradjax: clipping, products, spectra, theory, or a part: theory/learning"
    )
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    mutants, killed = drawn(arguments.package, arguments.count, arguments.seed), 0
    sys.dont_write_bytecode = True  # two versions of a file may fall into one tick of the clock
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "gradjax")
        jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # what mutants leave alone is compiled once
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "figures", "__pycache__"))
        for mutant in mutants:
            began = time.monotonic()
            word, shown = judged(mutant, copy)
            killed += word != "survived"
            name = mutant.operator.removeprefix("core/")
            print(f"{word:8} {mutant.path}:{mutant.line} {name} {time.monotonic() - began:.0f} s | {shown}", flush=True)
    print(f"{arguments.package}: {killed} of {len(mutants)} killed, {killed / len(mutants):.0%}")


if __name__ == "__main__":
    main()
