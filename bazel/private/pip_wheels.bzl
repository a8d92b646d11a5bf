"""Hash-locked wheels as Python libraries."""

load(":pip_download.bzl", "LOCK_ATTRS", "pip_download")

def _pip_wheels_impl(rctx):
    unpack_wheels = rctx.path(rctx.attr._unpack_wheels)
    python = pip_download(rctx, "wheels")
    unpacked = rctx.execute(
        [python, "-P", unpack_wheels, "wheels", "."],
        environment = {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    if unpacked.return_code != 0:
        fail("could not unpack the wheels of {}:\n{}".format(rctx.attr.lock, unpacked.stderr))
    rctx.delete("wheels")

pip_wheels = repository_rule(
    implementation = _pip_wheels_impl,
    attrs = dict(
        LOCK_ATTRS,
        _unpack_wheels = attr.label(default = "//bazel/tools:unpack_wheels.py", allow_single_file = True),
    ),
    doc = """One py_library for each distribution of a lock file, named as it with `_` for `-` and `.`.

A library depends on what its wheel's metadata requires, so `@pip//:grpcio` brings typing_extensions along. Executables
keep their mode; scripts of a wheel lie in its `bin` folder.""",
)
