import warnings

with warnings.catch_warnings():  # fastai's layers still use TorchScript
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    import fastai.layers  # noqa: F401
