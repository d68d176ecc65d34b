"""Every public function, a line each; and those few that stand elsewhere, with the reason."""

from bad_input import building, measuring, theory, training, working

ROWS = {row.name: row for part in (building, theory, measuring, training, working) for row in part.ROWS}

ELSEWHERE = {
    "gradjax.arguments.": "the judge of all arguments: its own errors are its doctests, and the messages of this table",
    "gradjax.study.plotting.": "draws what a study hands it: test_study_figures, test_study_fits",
    "gradjax.study.main": "a command line, whose bad arguments are test_study_command's",
    "gradjax.study.departures": "says what is wrong with any module instead of raising: test_study_contract",
    "gradjax.ensembles.gradient_norms_by_depth": "the inner program of one study, jitted as a whole: test_ensembles",
    "gradjax.room.": "what fits into memory: its own errors are the widths of 10^12 of this table",
    "gradjax.peers.pytorch_singular_values": "needs PyTorch, and is None without it: test_peers",
    "gradjax.platforms.": "takes no arguments but a test's own tolerance: test_platforms",
}

COSTLY = (  # a right call compiles for a second or more: by default only what is refused before any computing
    "gradjax.products.",
    "gradjax.leading.",
    "gradjax.spectra.",
    "gradjax.lyapunov.",
    "gradjax.flossing.",
    "gradjax.diagnosis.",
    "gradjax.jacobians.",
    "gradjax.gradients.",
    "gradjax.training.",
    "gradjax.recorder.",
    "gradjax.sweep.",
    "gradjax.study.sweep",
    "gradjax.networks.",
    "gradjax.tasks.",
    "gradjax.clipping.",
    "gradjax.theory.meanfield.depth_scales",
    "gradjax.theory.meanfield.correlation",
    "gradjax.theory.shattering.",
    "gradjax.theory.isometry.isometric_point",
    "gradjax.theory.learning.cosh_steps",
    "gradjax.chain.linearize",
    "gradjax.chain.admit",
)
AFTER_COMPUTING = ("to NaN", "to inf", "NaN parameters", "another", "nan", "inf")  # refused, but for what came out


def is_costly(name: str) -> bool:
    """Whether the line's cases that compute run with the slow tests only."""
    return name.startswith(COSTLY)
