# gluon-nst on the CPU, in a clone of the repository with its environment. README.md says how to build and run it.
FROM python:3.11-slim-bookworm

# What MXNet links to.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 libquadmath0 \
    && rm -rf /var/lib/apt/lists/*

# A different user of `docker run --user` writes into these folders too; the cache is for a volume.
RUN useradd --create-home nst \
    && install --directory --owner=nst --mode=777 /gluon-nst /home/nst /home/nst/.cache /pictures
USER nst
ENV HOME=/home/nst PATH=/gluon-nst/.venv/bin:$PATH

COPY --chown=nst . /gluon-nst
RUN PIP_NO_CACHE_DIR=1 bash -c "source /gluon-nst/scripts/environment"

# The user's folder: pictures are read from it and written into it.
WORKDIR /pictures
CMD ["/gluon-nst/scripts/demo"]
