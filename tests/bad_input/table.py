"""Every public function, a line each; and those few that stand elsewhere, with the reason."""

from bad_input import building, measuring, theory, training, working

ROWS = {row.name: row for part in (building, theory, measuring, training, working) for row in part.ROWS}

ELSEWHERE = {
    "gradjax.arguments.": "the judge of all arguments: its own errors are its doctests, and the messages of this table",
    "gradjax.study.plotting.": "draws what a study hands it: test_study_figures, test_study_fits",
    "gradjax.study.main": "a command line, whose bad arguments are test_study_command's",
    "gradjax.study.departures": "says what is wrong with any module instead of raising: test_study_contract",
    "gradjax.ensembles.gradient_norms_by_depth": "the inner program of one study, jitted as a whole: test_ensembles",
    "gradjax.peers.pytorch_singular_values": "needs PyTorch, and is None without it: test_peers",
    "gradjax.platforms.": "takes no arguments but a test's own tolerance: test_platforms",
}

PENDING = (  # lines that no run has judged to the end yet: written, and not run by `test_bad_input.py`
    "gradjax.products.",
    "gradjax.leading.",
    "gradjax.spectra.",
    "gradjax.lyapunov.",
    "gradjax.flossing.",
    "gradjax.diagnosis.",
    "gradjax.jacobians.input_output_jacobian",
    "gradjax.jacobians.log_jacobian_norms",
    "gradjax.jacobians.singular_value_summary",
    "gradjax.training.train",
    "gradjax.training.over_grid",
    "gradjax.recorder.plot",
    "gradjax.clipping.CLIPPERS",
    "gradjax.costs.",
    "gradjax.sweep.",
    "gradjax.study.sweep",
    "gradjax.networks.transformer",
    "gradjax.networks.embedding",
    "gradjax.tasks.",
    "gradjax.training.predict",
    "gradjax.peers.race",
    "gradjax.study.discover",
    "gradjax.study.progress",
    "gradjax.study.Claim",
    "gradjax.jacobians.jacobian",
    "gradjax.theory.quadrature.",
    "gradjax.theory.meanfield.length_map",
    "gradjax.theory.meanfield.curvature_map",
    "gradjax.theory.isometry.isometric_point",
    "gradjax.theory.isometry.limit_squared",
    "gradjax.theory.isometry.squared_singular_value_density",
)
JUDGED = [name for name in ROWS if not name.startswith(PENDING)]
