# The lab for people without Linux, from the Python of the distribution:
#
#   docker build -t io-lab .
#   docker run --rm -it -v "$PWD/results:/lab/results" io-lab
#
# The second is `make bench-quick`; anything else can stand behind it (make bench, make test).
# Ratios hold in a container; a virtual machine below it, such as Docker Desktop's, makes intervals
# wider. Docker forbids io_uring by default: that server is skipped, with the reason, unless
# `--security-opt seccomp=unconfined` is given. With few descriptors (`ulimit -n`) large cells are
# skipped: --ulimit nofile=20000:20000 brings them back.
FROM debian:trixie-slim
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv make git ca-certificates strace && rm -rf /var/lib/apt/lists/*
WORKDIR /lab
COPY . .
RUN make setup
ENV PATH="/lab/.venv/bin:$PATH"
CMD ["make", "bench-quick"]
