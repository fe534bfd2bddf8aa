# A tour of a server with beaneater: every method of its client, binary bodies included.
#
# Usage: beaneater_tour.rb PORT [MEMBERS]

require 'beaneater'

ADDRESS = "127.0.0.1:#{ARGV.fetch(0)}".freeze
# How many members are behind the port: each counts for itself what it refuses.
MEMBERS = ARGV.fetch(1, '1').to_i
EVERY_BYTE = (0..255).to_a.pack('C*').freeze

def same(expected, found)
  raise "#{found.inspect} instead of #{expected.inspect}" unless found == expected
end

def raises(error)
  yield
rescue error
  nil
else
  raise "no #{error} was raised"
end

def connected
  queue = Beaneater.new(ADDRESS)
  yield queue
ensure
  queue&.close
end

def bodies_go_round(queue)
  tube = queue.tubes['default']
  ['', "\r\n", "\0", 'grüße'.b, EVERY_BYTE, EVERY_BYTE * 255].each do |body|
    id = tube.put(body.dup)[:id]
    same body, queue.jobs.find(id).body
    job = tube.reserve
    same [id, body], [job.id, job.body.b]
    job.touch
    job.delete
    same false, job.exists?
  end
  raises(Beaneater::JobTooBigError) { tube.put('x' * 65_536) }
  queue.jobs.find(tube.put('x' * 65_535)[:id]).delete
  raises(Beaneater::TimedOutError) { tube.reserve(0) }
  same nil, queue.jobs.find(999_999)
end

def a_job_has_its_life(queue)
  tube = queue.tubes['life']
  %i[ready delayed buried].each { |state| same nil, tube.peek(state) }
  first = tube.put('first', pri: 7, delay: 1000, ttr: 60)[:id]
  second = tube.put('second', pri: 3)[:id]
  same first, tube.peek(:delayed).id
  same second, tube.peek(:ready).id
  job = tube.reserve
  same [second, true], [job.id, job.reserved?]
  same ['life', 3, 'reserved'], [job.tube, job.pri, job.stats.state]
  job.bury(pri: 9)
  same second, tube.peek(:buried).id
  tube.kick(10)
  queue.jobs.find(first).kick
  job = tube.reserve
  same [first, 60, 1000], [job.id, job.ttr, job.delay]
  job.release(pri: 1, delay: 1000)
  stats = queue.jobs.find(first).stats
  same ['delayed', 1, 1, 1], [stats.state, stats.releases, stats.kicks, stats.reserves]
  stats = tube.stats
  same ['life', 1, 1, 2],
       [stats.name, stats.current_jobs_ready, stats.current_jobs_delayed, stats.total_jobs]
  tube.clear
  same [nil, nil], [queue.jobs.find(first), queue.jobs.find(second)]
end

def tubes_are_used_watched_and_paused(queue)
  same ['default', ['default']], [queue.tubes.used.name, queue.tubes.watched.map(&:name)]
  queue.tubes.use('one')
  queue.tubes.watch!('two')
  same ['one', ['two']], [queue.tubes.used.name, queue.tubes.watched.map(&:name)]
  raises(Beaneater::NotIgnoredError) { queue.tubes.ignore('two') }
  queue.tubes.watch('three')
  same [], %w[default one two three] - queue.tubes.all.map(&:name)
  tube = queue.tubes['two']
  tube.put('late')
  tube.pause(1000)
  raises(Beaneater::TimedOutError) { tube.reserve(0) }
  tube.pause(0)
  tube.reserve(10).delete
  raises(Beaneater::NotFoundError) { queue.tubes['nowhere'].pause(1) }
end

def jobs_are_processed(queue)
  queue.tubes['work'].put('one')
  queue.tubes['work'].put('two')
  seen = []
  queue.jobs.register('work') do |job|
    seen << job.body
    queue.jobs.stop! if seen.size == 2
  end
  queue.jobs.process!(reserve_timeout: 5)
  same %w[one two], seen
end

def deadlines_are_announced(queue)
  tube = queue.tubes['soon']
  tube.put('hurry', ttr: 1)
  job = tube.reserve
  raises(Beaneater::DeadlineSoonError) { tube.reserve }
  job.delete
end

def the_server_tells_of_itself(queue)
  same 51, queue.stats.keys.size
  same 0, queue.stats.current_jobs_ready
  refused = queue.stats.cmd_put - queue.stats.total_jobs
  same true, refused == 1 || (MEMBERS > 1 && refused.zero?)
end

connected { |queue| bodies_go_round(queue) }
connected { |queue| a_job_has_its_life(queue) }
connected { |queue| tubes_are_used_watched_and_paused(queue) }
connected { |queue| jobs_are_processed(queue) }
connected { |queue| deadlines_are_announced(queue) }
connected { |queue| the_server_tells_of_itself(queue) }
