"""All of gradjax lowers for CPU, CUDA and TPU, shown on any machine: no operation of one platform hides in it.

`jax.export` lowers without a device of the kind. It refuses custom calls that are no stable part of jax, too. Every
public function stands in one of the tables, or in that of what never reaches a device; a new one is asked for here.
"""

import functools
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import variants

import gradjax
from gradjax import (
    clipping,
    diagnosis,
    ensembles,
    gradients,
    jacobians,
    leading,
    lyapunov,
    numerics,
    peers,
    products,
    recorder,
    spectra,
    tasks,
    training,
)
from gradjax.activations import ACTIVATIONS
from gradjax.chain import hidden_states, unroll
from gradjax.diagnosis.corpus import FAULTS
from gradjax.flossing import flossing_penalty
from gradjax.initializers import INITIALIZERS
from gradjax.networks import mlp, recurrent

PLATFORMS = ("cpu", "cuda", "tpu")
KEY = jax.random.key(0)
X = jnp.linspace(-1.0, 1.0, 6)
LAYERS = mlp(KEY, [6, 5, 5, 3], "tanh", "mean_field", "normal")
THROUGH_TIME = [unroll(recurrent(KEY, "rnn", 6, 3), jnp.ones((20, 3)))]
SQUARE = mlp(KEY, [6, 6, 6], "tanh", "mean_field")
DEPTHS = (1, 3)
CLASSES = jnp.array([0, 2])
TREE = {"kernel": jnp.ones((4, 6, 6)), "bias": jnp.linspace(-1, 1, 6)}


def lowered(function, *arguments):
    """The function's export for all three; its text for each shows that none was left out."""
    made = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    assert made.platforms == PLATFORMS
    return made


def loss(y):
    return jnp.sum(jnp.square(y))


def factors(*shape):
    return jax.random.normal(KEY, shape)


def several(x):
    numbers = jnp.ones(2, x.dtype)
    members = ensembles.Members(jnp.array([0, 1]), numbers, 0 * numbers, jnp.array([True, False]))
    functions = (ACTIVATIONS["tanh"], ACTIVATIONS["relu"])
    return ensembles.gradient_norms_by_depth(functions, DEPTHS, 4, members, KEY[None], x[None], CLASSES[:1])


QUICK = {
    "tap": (lambda x: gradients.tap(lambda x, point: point("inside", jnp.sin(x)) ** 2, x, loss).signals["inside"], X),
    "log_growths": (lambda x: lyapunov.log_growths(THROUGH_TIME, x, 3), X),
    "largest": (numerics.largest, TREE),
    "all_finite": (numerics.all_finite, TREE),
    "exponent": (numerics.exponent, TREE),
    "scale_by_power_of_two": (lambda tree: numerics.scale_by_power_of_two(tree, 3), TREE),
    "as_key": (numerics.as_key, KEY),
    "cosine": (lambda tree: clipping.cosine(tree, tree), TREE),
    "cross_entropy": (lambda y: training.cross_entropy(y, CLASSES), jnp.ones((2, 3))),
    "accuracy": (lambda y: training.accuracy(y, CLASSES), jnp.ones((2, 3))),
    "predict": (lambda x: training.predict(LAYERS, x), jnp.ones((2, 6))),
    "over_grid": (lambda x: training.over_grid(jnp.sin, (x,), together=2), X),
    "plain_product": (peers.plain_product, factors(5, 6, 6)),
    "running_qr_logs": (peers.running_qr_logs, factors(5, 6, 6)),
    "adding_problem": (lambda key: tasks.adding_problem(key, 2, 8), KEY),
    "temporal_order": (lambda key: tasks.temporal_order(key, 2, 20), KEY),
    "delayed_copy": (lambda key: tasks.delayed_copy(key, 2, 8, 3), KEY),
    "naive_log_singular_values": (products.naive_log_singular_values, factors(5, 6, 6)),
    "layer_jacobians": (lambda x: jacobians.layer_jacobians(LAYERS, x), X),
    "input_output_jacobian": (lambda x: jacobians.input_output_jacobian(LAYERS, x), X),
    "log_jacobian_norms": (lambda x: jacobians.log_jacobian_norms(LAYERS, x), X),
    "layer_gradients": (lambda x: gradients.layer_gradients(loss, LAYERS, x), X),
    "log_gradient_norms": (lambda x: gradients.log_gradient_norms(loss, LAYERS, x), X),
    "log_signal_norms": (lambda x: gradients.log_signal_norms(loss, LAYERS, x), X),
    "hidden_states": (lambda x: hidden_states(LAYERS, x), X),
    "log_norm": (numerics.log_norm, X),
    "log_global_norm": (clipping.log_global_norm, TREE),
    "lyapunov_exponents": (lambda x: lyapunov.lyapunov_exponents(THROUGH_TIME, x, 3), X),
    "flossing_penalty": (lambda x: flossing_penalty(THROUGH_TIME, x, 2), X),
}
SLOW = {
    "gradient_norms_by_depth": (several, X),
    "log_singular_values": (products.log_singular_values, factors(5, 6, 6)),
    "log_singular_values_with_error": (products.log_singular_values_with_error, factors(5, 6, 6)),
    "prefix_log_singular_values": (lambda f: products.prefix_log_singular_values(f, DEPTHS), factors(5, 6, 6)),
    "singular_vectors": (products.singular_vectors, factors(5, 6, 6)),
    "derivative": (jax.grad(lambda f: products.log_singular_values(f)[0]), factors(3, 4, 4)),
    "jacobian": (lambda x: jacobians.jacobian(jnp.tanh, x), X),
    "jacobian_spectrum": (lambda x: spectra.jacobian_spectrum(LAYERS, x).log_singular_values, X),
    "leading_log_singular_values": (lambda x: leading.leading_log_singular_values(LAYERS, x, 2), X),
    "trailing_log_singular_values": (lambda x: leading.trailing_log_singular_values(SQUARE, x, 2), X),
    "singular_value_summary": (lambda x: jacobians.singular_value_summary(LAYERS, x).log_largest, X),
}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_public_function_lowers_for_every_platform(name):
    lowered(*(QUICK | SLOW)[name])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_derivatives_lower(name):
    lowered(jax.vmap(jax.value_and_grad(ACTIVATIONS[name])), X)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_lower(name):
    shape = (3, 6, 6) if name == "delta_orthogonal" else (6, 6)
    lowered(lambda key: INITIALIZERS[name](key, shape, jnp.float32), KEY)


@pytest.mark.parametrize("name", clipping.CLIPPERS)
def test_clippers_lower(name):
    clipper = clipping.CLIPPERS[name]()

    def step(gradient):
        return clipper.update(gradient, clipper.init(TREE), TREE)

    per_example = name.startswith("per_example")
    lowered(step, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), TREE) if per_example else TREE)


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_network_lowers_with_its_gradients(name):
    layers, x = variants.VARIANTS[name](jnp.float32)
    lowered(lambda x: gradients.layer_gradients(lambda y: sum(map(jnp.sum, jax.tree.leaves(y))), layers, x), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_network_s_jacobians_lower(name):
    layers, x = variants.VARIANTS[name](jnp.float32)
    lowered(lambda x: jacobians.layer_jacobians(layers, x), x)


def test_training_and_its_recorder_lower():
    data = (jnp.ones((8, 6)), jnp.zeros(8, jnp.int32))
    optimizer = recorder.record(optax.sgd(1e-3, momentum=0.9), steps=4)

    def trained(key):
        return training.train(LAYERS, training.cross_entropy, optimizer, data, key=key, steps=3, batch_size=4)

    lowered(trained, KEY)


ELSEWHERE = {  # module -> what lowers its functions, or why none of them reaches a device
    "activations": "every line of ACTIVATIONS",
    "initializers": "every line of INITIALIZERS",
    "layers": "every network with its gradients",
    "networks": "every network with its gradients",
    "chain": "every network with its gradients",
    "diagnosis": "every program of a diagnosis",
    "theory": "numbers in, numbers out: float64 on the host, by design",
    "arguments": "what is refused before anything is computed",
    "room": "what is refused before it is made",
    "costs": "a clock and a count",
    "files": "bytes on a disk",
    "study": "the command line, records and pictures",
    "sweep": "its cell is the caller's; the loop around it is the host's",
    "platforms": "a number of dtype and sizes, and a context",
    "tables": "names",
}
LOWERED = {  # what the tests of clippers and of training lower
    *("train", "record", "observe", "one_of", "by_layer"),
    *("clip_by_global_norm", "clip_by_rule", "clip_by_percentile", "autoclip", "zclip"),
}
HOST = {  # function -> why it never reaches a device
    "jacobian_sizes": "shapes",
    "real_size": "shapes",
    "is_concrete": "what is known of a trace",
    "is_inexact": "a dtype",
    "norm_dtype": "a dtype",
    "suggest_threshold": "advice in words from a finished run",
    "response": "a word for a table",
    "responses": "words for a table",
    "resolve": "a name",
    "read": "a finished run",
    "plot": "a picture",
    "digits": "data from a file",
    "hubble_1929": "data",
    "known_product": "NumPy's arrays, for a comparison",
    "pytorch_singular_values": "another library",
    "race": "a clock",
}


def public_functions():
    """(module, function) names of all public functions of gradjax behind its first level."""
    for module in pkgutil.iter_modules(gradjax.__path__):
        if module.name not in ELSEWHERE:
            found = importlib.import_module(f"gradjax.{module.name}")
            for name, value in vars(found).items():
                function = hasattr(value, "__wrapped__") or inspect.isfunction(value)
                if function and not name.startswith("_") and value.__module__.startswith(f"gradjax.{module.name}"):
                    yield module.name, name


def test_every_public_function_is_lowered_or_said_to_stay_on_the_host():
    names = set(public_functions())
    assert len(names) > 40
    known = {*QUICK, *SLOW, *HOST, *LOWERED}
    assert {f"{module}.{name}" for module, name in names if name not in known} == set()
    assert known - {name for _, name in names} == {"derivative", "hidden_states"}  # nothing is listed that is gone
    assert ELSEWHERE.keys() <= {module.name for module in pkgutil.iter_modules(gradjax.__path__)}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_program_of_a_diagnosis_lowers(optimizer, monkeypatch):
    """It judges on the host, in NumPy; the programs that measure are found by running them."""
    met = {}
    modules = [importlib.import_module(f"gradjax.diagnosis.{m.name}") for m in pkgutil.iter_modules(diagnosis.__path__)]
    programs = {
        id(v): (n, v) for module in modules for n, v in vars(module).items() if hasattr(v, "lower") and callable(v)
    }

    def noted(name, program, *words, **more):
        met[name] = (program, words, more)
        return program(*words, **more)

    for module in modules:
        for name, value in list(vars(module).items()):
            if id(value) in programs:
                monkeypatch.setattr(module, name, functools.partial(noted, *programs[id(value)]))
    batch = jnp.linspace(-1.0, 1.0, 24).reshape(4, 6)
    diagnosis.diagnose(LAYERS, batch, loss, batch_axis=0)
    diagnosis.diagnose(THROUGH_TIME, X, loss)
    gates = FAULTS["GRU weights too large"](np.random.default_rng(0))  # whose edge is measured
    assert gates.is_right(gates.examined())
    step = functools.partial(diagnosis.diagnose_step, lambda w, x: loss(jnp.tanh(x @ w)), jnp.ones((6, 3)), batch)
    step(optimizer=getattr(optax, optimizer)(0.1))
    assert {name for name, _ in programs.values()} == met.keys()
    for program, words, more in met.values():
        made = jax.export.export(program, platforms=PLATFORMS)(*words, **more)
        assert made.platforms == PLATFORMS
