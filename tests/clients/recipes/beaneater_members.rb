# beaneater over several members: goes on at the next one when the connection to one is lost.
#
# What was held is not held any more then, and somebody gets the job again: workers have to bear that.
# A put is made again, and its key keeps it from being a second job.

require 'beaneater'
require 'timeout'

class Members
  # Longer than any reserve waits. A frozen member is not noticed before.
  ANSWER_SECONDS = 5
  CONNECT_SECONDS = 1
  # Between two members, when none takes connections.
  PAUSE_SECONDS = 0.1
  LOST = [Beaneater::NotConnected, Beaneater::ExpectedCrlfError, SystemCallError, IOError, Timeout::Error].freeze

  # Addresses are HOST:PORT.
  def initialize(addresses)
    @addresses = addresses.dup
  end

  # What the block gives for a client: called again with others until a member has answered, so it should
  # do nothing but talk to its client. A job of beaneater belongs to the client that got it: elsewhere,
  # only its id is of use.
  def run
    @queue ||= Timeout.timeout(CONNECT_SECONDS) { connected }
    Timeout.timeout(ANSWER_SECONDS) { yield @queue }
  rescue *LOST
    leave
    retry
  end

  def put(tube, body, key, **options)
    run do |queue|
      queue.connection.transmit("key #{key}")
      reply = queue.tubes[tube].put(body.dup, options)
      # beaneater takes a reply that it does not know for a good one.
      reply[:status] == 'INSERTED' ? reply : raise(reply.inspect)
    end
  end

  private

  def connected
    queue = Beaneater.new(@addresses.first)
    # By itself beaneater connects again after an error and repeats what it sent, a put without its key.
    queue.connection.define_singleton_method(:establish_connection) { raise Beaneater::NotConnected }
    queue
  end

  def leave
    @queue&.close
    @queue = nil
    @addresses.rotate!
    sleep PAUSE_SECONDS
  end
end
