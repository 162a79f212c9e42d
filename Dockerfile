# One image for the API and the worker: the sources as they are, since Node 24 runs TypeScript, and what package-lock.json names.
#
#   docker build -t countdown .
#   docker run … countdown api/server.ts
#   docker run … countdown worker.ts --pool eu-west
FROM node:24.21.0-bookworm-slim

# TLS to Temporal, PostgreSQL and targets needs the usual authorities.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev && npm cache clean --force
COPY . .

# The worker's files of runs; environment files and runbooks are mounted, never baked in.
RUN mkdir -p /var/lib/countdown && chown node:node /var/lib/countdown
VOLUME /var/lib/countdown

ENV NODE_ENV=production TZ=UTC COUNTDOWN_STATE=/var/lib/countdown COUNTDOWN_ENVIRONMENTS=/etc/countdown/environments COUNTDOWN_RUNBOOKS=/etc/countdown/runbooks
USER node
# SIGTERM drains both processes: API 10 s, worker 15 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["node"]
CMD ["api/server.ts"]
