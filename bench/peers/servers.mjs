/** The servers that some peers need: found on this machine, started in a temporary directory, ended by their handles. */

import { execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort, startChild } from '../child.mjs'

const DEBIAN_POSTGRES = '/usr/lib/postgresql'
const START_TRIES = 200
const TRY_EVERY_MS = 50

/** What is needed of each server to start it. */
const PROGRAMS = { redis: ['redis-server'], postgres: ['initdb', 'postgres', 'createdb'] }

/** The folder that has the server's programs; null when this machine has none. */
function folderOf(server) {
  const versions = existsSync(DEBIAN_POSTGRES) ? readdirSync(DEBIAN_POSTGRES).toSorted((a, b) => b - a) : []
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...versions.map((version) => join(DEBIAN_POSTGRES, version, 'bin')),
  ]
  return folders.find((folder) => PROGRAMS[server].every((program) => existsSync(join(folder, program)))) ?? null
}

/** Why a server cannot be started here, or null. */
export function missingServer(server) {
  if (server === null || folderOf(server) !== null) return null
  return `${PROGRAMS[server].join(', ')} not found (Debian: apt-get install ${server === 'redis' ? 'redis-server' : 'postgresql'})`
}

/** What `redis-server --version` or `postgres --version` says. */
export function versionOf(server) {
  const folder = folderOf(server)
  if (folder === null) return null
  const program = join(folder, server === 'redis' ? 'redis-server' : 'postgres')
  return execFileSync(program, ['--version'], { encoding: 'utf8' }).trim()
}

/** An empty server on a free port of loopback: `{url, pid, end}`. */
export async function startServer(server, directory, options) {
  mkdirSync(directory, { recursive: true })
  const port = await freePort()
  return server === 'redis' ? startRedis(directory, port, options) : startPostgres(directory, port)
}

/** As docs.bullmq.io advises in "Going to production": an append-only file, and nothing is evicted. */
async function startRedis(directory, port, { appendfsync = 'everysec' }) {
  const settings = {
    bind: '127.0.0.1',
    port,
    dir: directory,
    appendonly: 'yes',
    appendfsync,
    save: '',
    'maxmemory-policy': 'noeviction',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const redis = startChild(join(folderOf('redis'), 'redis-server'), args)
  await redis.line((text) => String(text).includes('Ready to accept connections'))
  return { url: `redis://127.0.0.1:${port}`, pid: redis.pid, end: redis.end }
}

/** Its own defaults: `fsync` and `synchronous_commit` are on. */
async function startPostgres(directory, port) {
  const folder = folderOf('postgres')
  const data = join(directory, 'data')
  const as = unprivileged()
  if (as !== null) chownSync(directory, as.uid, as.gid)
  const options = { ...as, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] }
  execFileSync(join(folder, 'initdb'), ['-D', data, '-U', 'bench', '-A', 'trust', '-E', 'UTF8', '--no-locale'], options)
  const postgres = startChild(
    join(folder, 'postgres'),
    ['-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    { ...as, cwd: directory, stdio: ['pipe', 'pipe', 'ignore'], endSignal: 'SIGINT' },
  )
  const createBench = () =>
    execFileSync(join(folder, 'createdb'), ['-h', '127.0.0.1', '-p', String(port), '-U', 'bench', 'bench'], options)
  await untilDone(createBench)
  return { url: `postgres://bench@127.0.0.1:${port}/bench`, pid: postgres.pid, end: postgres.end }
}

/** PostgreSQL refuses to run as root: then it runs as the user that Debian made for it, or as nobody. */
function unprivileged() {
  if (process.getuid?.() !== 0) return null
  const idOf = (flag, user) => Number(execFileSync('id', [flag, user], { encoding: 'utf8', stdio: 'pipe' }))
  for (const user of ['postgres', 'nobody']) {
    try {
      return { uid: idOf('-u', user), gid: idOf('-g', user) }
    } catch {
      // There is no such user.
    }
  }
  return null
}

async function untilDone(run) {
  for (let tries = 1; ; tries += 1) {
    try {
      return run()
    } catch (error) {
      if (tries === START_TRIES) throw error
      await sleep(TRY_EVERY_MS)
    }
  }
}
