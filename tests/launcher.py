"""How several processes are started by MPI: where mpirun is, and the environment that it needs."""

from __future__ import annotations

import os
import shutil

MPIRUN = shutil.which("mpirun")
# Containers run tests as root, and have no ssh, which ranks of one machine don't need.
LAUNCHER = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_plm_rsh_agent": "true"}
