"""What Triton refuses of a model, as NVIDIA's own code has it; each rule names the function that it repeats.

`core` and the modules that it calls repeat Triton's core, which judges a config.pbtxt by itself. `onnx_backend` repeats
the onnxruntime backend, which holds it against the model's file. `ensembles` also holds an ensemble against the models
of its steps. Both sides of these rules are held by one table of cases, `publisher_testing.triton_rules`, which real
Triton is held against as well.
"""
