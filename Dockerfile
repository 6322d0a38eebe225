# The archive node in a container: docker build -t zscp . && docker run -p 11112:11112 zscp
# It can also be one of several nodes, with PostgreSQL and an S3 store: compose.cluster.yml, deploy/kubernetes.

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY scp ./scp
RUN python -m venv /opt/zscp && /opt/zscp/bin/pip install --no-cache-dir -c constraints.txt '.[oidc,postgresql,s3,web]'

FROM python:3.12-slim
# A fixed id, so that a bind-mounted data folder can be given to it: chown 10001:10001.
RUN useradd --system --uid 10001 --user-group --no-create-home zscp \
    && install --directory --owner=zscp --group=zscp /var/lib/zscp
COPY --from=build /opt/zscp /opt/zscp
COPY conf/zscp.toml /etc/zscp/zscp.toml
ENV PATH=/opt/zscp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ZSCP_STORAGE__URL=file:///var/lib/zscp/objects \
    ZSCP_INDEX__URL=sqlite:////var/lib/zscp/index.db
USER zscp
WORKDIR /var/lib/zscp
VOLUME /var/lib/zscp
EXPOSE 11112
# A real C-ECHO. It calls the defaults unless the environment sets others: change [node] aet and port
# by ZSCP_NODE__AET and ZSCP_NODE__PORT here, not in the file.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD zscp echo --aet "${ZSCP_NODE__AET:-ZSCP}" "127.0.0.1:${ZSCP_NODE__PORT:-11112}"
ENTRYPOINT ["zscp", "serve", "--config", "/etc/zscp/zscp.toml"]
