// A producer or a worker that goes on until it is told, and knows nothing of losses: any error ends it.
//
// Usage: jackd_lasting.js put|work PORT
//
// `put` puts each line of its input as a job, and repeats it when the server has it. `work` says of
// each job that it holds it, deletes it, and says so; it ends with the job `end`.

const Jackd = require('jackd')
const readline = require('node:readline')

async function put (queue) {
  await queue.use('lasting')
  for await (const number of readline.createInterface({ input: process.stdin })) {
    await queue.put(number)
    process.stdout.write(`${number}\n`)
  }
}

async function work (queue) {
  await queue.watch('lasting')
  await queue.ignore('default')
  for (;;) {
    const { id, payload } = await queue.reserve()
    if (payload.toString() === 'end') return await queue.delete(id)
    process.stdout.write(`held ${payload} ${id}\n`)
    await queue.delete(id)
    process.stdout.write(`deleted ${payload} ${id}\n`)
  }
}

async function main (role, port) {
  const queue = new Jackd()
  await queue.connect({ host: '127.0.0.1', port: Number(port) })
  await { put, work }[role](queue)
  await queue.quit()
}

// jackd leaves who waits for a reply waiting when the connection ends, and the process would end well.
process.exitCode = 1
main(...process.argv.slice(2)).then(() => { process.exitCode = 0 })
