// A tour of a server with jackd: every method of its client but pauseTube, which sends no end of
// line and waits for ever. Bodies are text: jackd makes JSON of a Buffer.
//
// Usage: jackd_tour.js PORT [MEMBERS]

const assert = require('node:assert/strict')
const Jackd = require('jackd')

const port = Number(process.argv[2])
// How many members are behind the port: each counts for itself what it refuses.
const members = Number(process.argv[3] ?? 1)

async function connected (visit) {
  const queue = new Jackd()
  await queue.connect({ host: '127.0.0.1', port })
  await visit(queue)
  await queue.quit()
}

// The values of a reply in YAML, as text and without the quotes that 1.13 gives to names.
function values (yaml) {
  return Object.fromEntries([...yaml.matchAll(/^([\w-]+): "?(.*?)"?$/gm)].map(([, key, value]) => [key, value]))
}

function list (yaml) {
  return [...yaml.matchAll(/^- "?(.*?)"?$/gm)].map(([, name]) => name)
}

async function bodiesGoRound (queue) {
  for (const body of ['\r\n', '\0', 'grüße', 'RESERVED 1 1\r\n', 'x'.repeat(65535)]) {
    const id = await queue.put(body)
    assert.equal((await queue.peek(id)).payload.toString(), body)
    const job = await queue.reserve()
    assert.deepEqual([job.id, job.payload.toString()], [id, body])
    await queue.touch(id)
    await queue.delete(id)
    await assert.rejects(queue.delete(id), /NOT_FOUND/)
  }
  await assert.rejects(queue.put('x'.repeat(65536)), /JOB_TOO_BIG/)
  await assert.rejects(queue.reserveWithTimeout(0), /TIMED_OUT/)
}

async function aJobHasItsLife (queue) {
  await queue.use('life')
  await queue.watch('life')
  await queue.ignore('default')
  await assert.rejects(queue.peekReady(), /NOT_FOUND/)
  await assert.rejects(queue.peekBuried(), /NOT_FOUND/)
  const first = await queue.put('first', { priority: 7, delay: 1000, ttr: 60 })
  const second = await queue.put('second', { priority: 3 })
  assert.equal((await queue.peekDelayed()).id, first)
  assert.equal((await queue.peekReady()).id, second)
  assert.equal((await queue.reserve()).id, second)
  let stats = values(await queue.statsJob(second))
  assert.deepEqual([stats.state, stats.tube, stats.pri], ['reserved', 'life', '3'])
  await queue.bury(second, 9)
  assert.equal((await queue.peekBuried()).id, second)
  assert.equal(await queue.kick(10), 1)
  await queue.kickJob(first)
  assert.equal((await queue.reserve()).id, first)
  await queue.release(first, { priority: 1, delay: 1000 })
  assert.equal(values(await queue.statsJob(first)).state, 'delayed')
  assert.equal((await queue.reserveJob(first)).id, first)
  await assert.rejects(queue.reserveJob(first), /NOT_FOUND/)
  stats = values(await queue.statsJob(first))
  assert.deepEqual([stats.releases, stats.kicks, stats.reserves], ['1', '1', '2'])
  stats = values(await queue.statsTube('life'))
  assert.deepEqual([stats.name, stats['current-jobs-ready'], stats['total-jobs']], ['life', '1', '2'])
  await queue.delete(first)
  await queue.delete(second)
}

async function tubesAreUsedAndWatched (queue) {
  assert.equal(await queue.listTubeUsed(), 'default')
  assert.deepEqual(list(await queue.listTubesWatched()), ['default'])
  assert.equal(await queue.use('one'), 'one')
  assert.equal(await queue.watch('two'), 2)
  assert.equal(await queue.ignore('default'), 1)
  await assert.rejects(queue.ignore('two'), /NOT_IGNORED/)
  assert.deepEqual([await queue.getCurrentTube(), list(await queue.listTubesWatched())], ['one', ['two']])
  const tubes = list(await queue.listTubes())
  assert.deepEqual(['default', 'one', 'two'].filter(tube => !tubes.includes(tube)), [])
}

async function deadlinesAreAnnounced (queue) {
  await queue.put('hurry', { ttr: 1 })
  const { id } = await queue.reserve()
  await assert.rejects(queue.reserve(), /DEADLINE_SOON/)
  await queue.delete(id)
}

async function theServerTellsOfItself (queue) {
  const stats = values(await queue.stats())
  assert.equal(Object.keys(stats).length, 51)
  assert.equal(stats['current-jobs-ready'], '0')
  const refused = Number(stats['cmd-put']) - Number(stats['total-jobs'])
  assert.ok(refused === 1 || (members > 1 && refused === 0), `${refused} puts refused`)
}

async function main () {
  const visits = [bodiesGoRound, aJobHasItsLife, tubesAreUsedAndWatched, deadlinesAreAnnounced, theServerTellsOfItself]
  for (const visit of visits) await connected(visit)
}

// A promise that nobody keeps would end the process with status 0.
process.exitCode = 1
main().then(() => { process.exitCode = 0 })
