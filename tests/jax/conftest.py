import os

# The functions of tests are called a few times: how fast they are compiled counts more than how
# fast they are. Read when JAX starts, at its first operation.
FASTER = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FASTER}".strip()
