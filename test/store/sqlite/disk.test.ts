/** The disk: how it is told from a full one, when the ballast is there, and what counts as gone. Real files; a real small disk where one can be mounted. */

import { existsSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ballastBytesOf, createDisk, DISK_SETTINGS, releaseBallast } from '../../../src/store/sqlite/disk.ts'
import { aSmallDisk, fillDisk } from '../../support/chaos.ts'
import { aDirectory } from '../../support/store.ts'

const MIB = 1024 * 1024

function aFile(directory: string = aDirectory()): string {
  const file = join(directory, 'ringback.db')
  for (const suffix of ['', '-wal', '.lock']) writeFileSync(`${file}${suffix}`, 'x')
  return file
}

function collectEvents() {
  const events: string[] = []
  const note = ({ event }: { event: string }) => void events.push(event)
  return { events, log: { info: note, warn: note, error: note } }
}

test('on a large disk the ballast has 8 MiB of its own, for its owner alone', () => {
  const file = aFile()
  const disk = createDisk({ file, settings: DISK_SETTINGS })
  expect(disk.state()).toBe('roomy')
  expect(disk.refusal()).toBeNull()
  const { size, blocks, mode } = statSync(`${file}.ballast`)
  expect(size).toBe(8 * MIB)
  expect(blocks * 512, 'a file of holes would keep nothing free').toBeGreaterThanOrEqual(8 * MIB)
  expect(mode & 0o777).toBe(0o600)
})

test('the ballast is not made of zeros, of which a file system that compresses keeps nothing', () => {
  const file = aFile()
  createDisk({ file, settings: DISK_SETTINGS })
  expect(new Set(readFileSync(`${file}.ballast`).subarray(0, 65_536)).size).toBe(256)
})

test('the ballast of an earlier life is kept as it is', () => {
  const file = aFile()
  createDisk({ file, settings: DISK_SETTINGS })
  const { ino } = statSync(`${file}.ballast`)
  createDisk({ file, settings: DISK_SETTINGS })
  expect(statSync(`${file}.ballast`).ino).toBe(ino)
  expect(releaseBallast(file)).toBe(true)
  expect(releaseBallast(file)).toBe(false)
})

test('without settings nothing is kept in reserve, and a full disk is over when the next commit succeeds', () => {
  const file = aFile()
  const disk = createDisk({ file })
  expect(existsSync(`${file}.ballast`)).toBe(false)
  expect(disk.filled()).toBe(false)
  expect(disk.refusal()).toMatchObject({ code: 'disk_full' })
  disk.look()
  expect(disk.state()).toBe('roomy')
})

test('from roomy to low and full and back: the ballast goes once, and comes back before anything new is taken', ({
  skip,
}) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const file = aFile(directory)
  const { events, log } = collectEvents()
  const disk = createDisk({ file, settings: DISK_SETTINGS, log })
  expect(statSync(`${file}.ballast`).size).toBe(ballastBytesOf(file, DISK_SETTINGS))
  expect(ballastBytesOf(file, DISK_SETTINGS), 'a tenth of the disk').toBe(Math.floor(2.4 * MIB))

  const free = fillDisk(directory, 512 * 1024)
  disk.look()
  expect(disk.state()).toBe('low')
  expect(disk.refusal()).toMatchObject({ code: 'disk_full', retryAfterMs: 60_000 })
  expect(existsSync(`${file}.ballast`)).toBe(true)

  expect(disk.filled()).toBe(true)
  expect(disk.filled(), 'there is only one').toBe(false)
  expect(existsSync(`${file}.ballast`)).toBe(false)
  disk.look()
  expect(disk.state(), 'the room of the ballast is not for new things').toBe('full')

  free()
  disk.look()
  expect(disk.state()).toBe('roomy')
  expect(existsSync(`${file}.ballast`)).toBe(true)
  expect(events).toEqual(['disk.low', 'disk.full', 'disk.ballast_released', 'disk.roomy'])
})

test('a ballast that is there is not asked for a second time: with it less room is enough', ({ skip }) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const file = aFile(directory)
  const disk = createDisk({ file, settings: DISK_SETTINGS })
  fillDisk(directory, 2 * MIB)
  disk.look()
  expect(disk.state()).toBe('roomy')
})

test('a disk with no room for the ballast at the start is low', ({ skip }) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const file = aFile(directory)
  const free = fillDisk(directory, 3 * MIB)
  const disk = createDisk({ file, settings: DISK_SETTINGS })
  expect(disk.state()).toBe('low')
  expect(existsSync(`${file}.ballast`), 'half a ballast is none').toBe(false)
  free()
  disk.look()
  expect(disk.state()).toBe('roomy')
})

const HARMS: readonly (readonly [string, (file: string) => void, RegExp])[] = [
  ['deleted', (file) => rmSync(file), /ringback\.db was deleted or moved away/],
  ['moved', (file) => renameSync(file, `${file}.moved`), /ringback\.db was deleted or moved away/],
  [
    'replaced by its own copy',
    (file) => {
      writeFileSync(`${file}.copy`, readFileSync(file))
      renameSync(`${file}.copy`, file)
    },
    /ringback\.db was replaced by another file/,
  ],
  [
    'moved, with a link to where it is now',
    (file) => {
      renameSync(file, `${file}.moved`)
      symlinkSync(`${file}.moved`, file)
    },
    /^$/,
  ],
  ['left without its log', (file) => rmSync(`${file}-wal`), /ringback\.db-wal was deleted or moved away/],
  ['left without its lock', (file) => rmSync(`${file}.lock`), /ringback\.db\.lock was deleted or moved away/],
]

test.each(HARMS)('a database that was %s is told from one that is in its place', (_what, harm, words) => {
  const file = aFile()
  const disk = createDisk({ file })
  expect(disk.displaced()).toBeNull()
  harm(file)
  // A link leads to the same file: whoever opens it by its name finds what was written.
  expect(disk.displaced() ?? '').toMatch(words)
})
