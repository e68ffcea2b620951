# The image of Foregate: one program, a user without rights, nothing that has to be written.
#
#   docker build -t foregate .                                     CPU, with the demo model in /models/demo
#   docker build -t foregate --target run .                        without it
#   docker build -t foregate:cuda --build-arg FOREGATE_CUDA=ON \
#     --build-arg BUILD_BASE=docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04 \
#     --build-arg RUN_BASE=docker.io/nvidia/cuda:13.0.1-base-ubuntu24.04 .
#   docker build -t foregate:mpi --build-arg FOREGATE_MPI=ON .     ranks on several machines (deploy/README.md)
#   docker run --rm -p 8000:8000 --read-only foregate
#
# Both bases must be of one distribution: the packages that the program needs are looked up in the first and installed in the second.
ARG BUILD_BASE=docker.io/library/debian:bookworm-slim
ARG RUN_BASE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_BASE} AS build
ARG FOREGATE_CUDA=OFF
ARG FOREGATE_MPI=OFF
ARG JOBS=
ENV DEBIAN_FRONTEND=noninteractive
WORKDIR /src
COPY tools/install_packages tools/packages.txt tools/
RUN tools/install_packages build \
    && if [ "${FOREGATE_MPI}" = ON ]; then tools/install_packages mpi; fi && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake -S . -B build -G Ninja -DFOREGATE_CUDA="${FOREGATE_CUDA}" -DFOREGATE_MPI="${FOREGATE_MPI}" \
    && ninja -C build -j "${JOBS:-$(nproc)}" foregate \
    && if [ "${FOREGATE_CUDA}" = ON ]; then ninja -C build foregate_cuda; fi \
    && if [ "${FOREGATE_MPI}" = ON ]; then ninja -C build foregate_mpi; fi
# The program, its modules beside it, and the names of the packages that hold the libraries they are linked to. Ranks of
# other machines are started through ssh, by the user of the image.
RUN mkdir -p /out/bin && cp build/foregate /out/bin/ \
    && for module in cuda mpi; do if [ -f build/libforegate_$module.so ]; then cp build/libforegate_$module.so /out/bin/; fi; done \
    && strip /out/bin/* \
    && tools/needed_packages /out/bin/* > /out/packages \
    && if [ "${FOREGATE_MPI}" = ON ]; then \
         cp tools/serve_ranks /out/bin/ && printf 'openmpi-bin\nopenssh-client\nopenssh-server\n' >> /out/packages; fi

FROM ${RUN_BASE} AS run
COPY --from=build /out/packages /opt/foregate/packages
# Which versions they have is the distribution's word of the day; the image's digest pins them.
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive xargs apt-get install -y -q --no-install-recommends < /opt/foregate/packages \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*.log /var/log/apt /etc/ssh/ssh_host_*
COPY --from=build /out/bin /opt/foregate/bin
COPY LICENSE /opt/foregate/LICENSE
RUN echo 'foregate:x:65532:65532:Foregate:/tmp:/bin/sh' >> /etc/passwd && echo 'foregate:x:65532:' >> /etc/group
ENV PATH=/opt/foregate/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    FOREGATE_HOST=0.0.0.0
USER 65532:65532
WORKDIR /
EXPOSE 8000 50051
STOPSIGNAL SIGTERM
# A model of many gigabytes loads for minutes: what fails in the start period does not count.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["foregate", "health"]
ENTRYPOINT ["foregate"]
CMD ["--help"]

FROM run AS demo
COPY models/demo /models/demo
CMD ["serve", "/models/demo"]
