// A producer or a worker that goes on at another member by the recipe for jackd.
//
// Usage: jackd_wandering.js put|work ADDRESS,..
//
// `put` puts each line of its input as a job, and repeats it when a member has it. `work` says of each
// job that it holds it, deletes it, and says so if the job was still there; it ends with the job `end`.

const readline = require('node:readline')
const { Members } = require('./recipes/jackd_members')

async function prepare (queue) {
  await queue.use('lasting')
  await queue.watch('lasting')
  await queue.ignore('default')
}

async function put (members) {
  for await (const number of readline.createInterface({ input: process.stdin })) {
    await members.put(number, number, { ttr: 5 })
    process.stdout.write(`${number}\n`)
  }
}

async function work (members) {
  for (;;) {
    const { id, payload } = await reserved(members)
    if (payload.toString() === 'end') return await isDeleted(members, id)
    process.stdout.write(`held ${payload} ${id}\n`)
    if (await isDeleted(members, id)) process.stdout.write(`deleted ${payload} ${id}\n`)
  }
}

async function reserved (members) {
  for (;;) {
    try {
      return await members.run(queue => queue.reserveWithTimeout(2))
    } catch (error) {
      if (error.message !== 'TIMED_OUT') throw error
    }
  }
}

async function isDeleted (members, id) {
  try {
    await members.run(queue => queue.delete(id))
    return true
  } catch (error) {
    // The connection that held it is lost, or it was deleted and the reply was lost.
    if (error.message !== 'NOT_FOUND') throw error
    return false
  }
}

async function main (role, addresses) {
  const members = new Members(addresses.split(','), prepare)
  await { put, work }[role](members)
  await members.quit()
}

process.exitCode = 1
main(...process.argv.slice(2)).then(() => { process.exitCode = 0 })
