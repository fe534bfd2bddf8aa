// jackd over several members: goes on at the next one when the connection to one is lost.
//
// What was held is not held any more then, and somebody gets the job again: workers have to bear that.
// A put is made again, and its key keeps it from being a second job.

const Jackd = require('jackd')

const CONNECT_MS = 1000
// Longer than any reserve waits. A frozen member is not noticed before.
const ANSWER_MS = 5000
// Between two members, when none takes connections.
const PAUSE_MS = 100

class Members {
  // Addresses are HOST:PORT. `prepare` is given each new client, to use and watch tubes.
  constructor (addresses, prepare) {
    Object.assign(this, { addresses: [...addresses], prepare, queue: new Jackd() })
    this.queue.socket.destroy()
  }

  // What `work` gives for a client: called again with others until a member has answered, so it should
  // do nothing but talk to its client.
  async run (work) {
    for (;;) {
      try {
        if (this.queue.socket.destroyed) await this.connect()
        return await unlessLost(this.queue, ANSWER_MS, work(this.queue))
      } catch (error) {
        if (!this.queue.socket.destroyed) throw error
        this.addresses.push(this.addresses.shift())
        await new Promise(resolve => setTimeout(resolve, PAUSE_MS))
      }
    }
  }

  async put (payload, key, options) {
    return this.run(async queue => {
      await queue.createCommandHandler(() => Buffer.from(`key ${key}\r\n`), [expectKeyed])()
      return queue.put(payload, options)
    })
  }

  async connect () {
    const queue = this.queue = new Jackd()
    queue.socket.setKeepAlive(true)
    // The socket is destroyed then; an error that nobody listens for would end the process.
    queue.socket.on('error', () => {})
    const [host, port] = this.addresses[0].split(':')
    await unlessLost(queue, CONNECT_MS, queue.connect({ host, port: Number(port) }))
    await unlessLost(queue, ANSWER_MS, this.prepare(queue))
  }

  async quit () {
    await this.queue.quit()
  }
}

// By itself jackd leaves who waits for a reply waiting when the connection ends.
function unlessLost ({ socket }, ms, promise) {
  const timer = setTimeout(() => socket.destroy(), ms)
  const lost = new Promise((resolve, reject) => {
    const fail = () => reject(new Error('the connection was lost'))
    socket.once('close', fail)
    const forget = () => { clearTimeout(timer); socket.off('close', fail) }
    promise.then(forget, forget)
  })
  return Promise.race([promise, lost])
}

async function expectKeyed (reply) {
  if (reply.toString() !== 'KEYED') throw new Error(reply.toString())
}

module.exports = { Members }
