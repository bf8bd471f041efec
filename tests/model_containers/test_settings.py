"""Flags beat the environment, which beats the defaults; nonsense is one line."""

from pathlib import Path

import pytest

from model_containers.data_types import DataType
from model_containers.errors import SettingsError
from model_containers.settings import read

ENVIRONMENT = {
    "CLIPPER_MODEL_NAME": "vgg",
    "CLIPPER_MODEL_VERSION": "2",
    "CLIPPER_IP": "query_frontend",
    "CLIPPER_PORT": "7001",
    "CLIPPER_INPUT_TYPE": "Floats",
    "CLIPPER_GPU_MEM_FRAC": "0.5",
    "LOADGEN_REPLY_TIMES": "1",
    "LOADGEN_REPLY_FAILURES": "1",
    "LOADGEN_MAX_BATCH": "16",
    "LOADGEN_THREADS": "3",
    "LOADGEN_SEED": "9",
    "LOADGEN_GPU": "1",
    "LOADGEN_INPUT_SHAPE": "4x5",
    "LOADGEN_LOG_FILE": "/tmp/x.log",
    "LOADGEN_FRONTEND_ADDRESS": "ipc:///run/x/replica",
}


def test_everything_has_a_default():
    """The original's, where it had one."""
    settings = read({}, {})
    assert (settings.name, settings.version, settings.host, settings.port) == (None, "1", "127.0.0.1", 7000)
    assert (settings.reply_times, settings.load.max_batch, settings.load.weights, settings.load.gpu) == (
        False,
        1,
        "seeded",
        False,
    )
    assert settings.address == "tcp://127.0.0.1:7000"


def test_the_environment_is_read():
    """Every variable of it."""
    settings = read({}, ENVIRONMENT)
    assert (settings.name, settings.version, settings.host, settings.port) == ("vgg", "2", "query_frontend", 7001)
    assert (settings.load.input_type, settings.reply_times, settings.load.max_batch) == (DataType.FLOATS, True, 16)
    assert (settings.log_file, settings.address) == (Path("/tmp/x.log"), "ipc:///run/x/replica")
    assert settings.reply_failures
    load = settings.load
    assert (load.threads, load.seed, load.gpu, load.gpu_memory_fraction, load.input_shape) == (3, 9, True, 0.5, (4, 5))


def test_a_flag_beats_the_environment():
    """Where it is given."""
    settings = read({"name": "mine", "port": None}, ENVIRONMENT)
    assert (settings.name, settings.port) == ("mine", 7001)


def test_a_model_path_is_a_weights_file_unless_weights_are_named():
    """The original's variable keeps its meaning."""
    assert read({}, {"CLIPPER_MODEL_PATH": "/model/w.h5"}).load.weights == "/model/w.h5"
    assert read({"weights": "imagenet"}, {"CLIPPER_MODEL_PATH": "/model/w.h5"}).load.weights == "imagenet"


@pytest.mark.parametrize(
    ("flags", "environment", "text"),
    [
        ({}, {"CLIPPER_PORT": "x"}, "CLIPPER_PORT x: must be a whole number"),
        ({}, {"CLIPPER_PORT": "70000"}, "CLIPPER_PORT 70000: must be a whole number from 1 to 65535"),
        ({"port": "0"}, {}, "--port 0"),
        ({}, {"CLIPPER_INPUT_TYPE": "images"}, "CLIPPER_INPUT_TYPE images"),
        ({}, {"CLIPPER_GPU_MEM_FRAC": "1.5"}, "CLIPPER_GPU_MEM_FRAC 1.5: must be a number above 0"),
        ({}, {"CLIPPER_GPU_MEM_FRAC": "half"}, "CLIPPER_GPU_MEM_FRAC half: must be a number above 0"),
        ({}, {"LOADGEN_REPLY_TIMES": "yes"}, "LOADGEN_REPLY_TIMES yes: must be 0 or 1"),
        ({"input-shape": "0x2"}, {}, "--input-shape 0x2: must be dimensions"),
        ({"input-shape": "2x"}, {}, "--input-shape 2x: must be dimensions"),
        ({"max-batch": "0"}, {}, "--max-batch 0"),
    ],
)
def test_nonsense_names_its_source(flags, environment, text):
    """The flag or the variable, the value, and what it must be."""
    with pytest.raises(SettingsError, match=text):
        read(flags, environment)
