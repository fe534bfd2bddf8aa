# A producer or a worker that goes on at another member by the recipe for beaneater.
#
# Usage: beaneater_wandering.rb put|work ADDRESS,..
#
# `put` puts each line of its input as a job, and repeats it when a member has it. `work` says of each
# job that it holds it, deletes it, and says so if the job was still there; it ends with the job `end`.

require_relative 'recipes/beaneater_members'

$stdout.sync = true

def put(members)
  while (number = $stdin.gets&.strip)
    members.put('lasting', number, number, ttr: 5)
    puts number
  end
end

def work(members)
  until (job = reserved(members)).body == 'end'
    puts "held #{job.body} #{job.id}"
    puts "deleted #{job.body} #{job.id}" if deleted?(members, job)
  end
  deleted?(members, job)
end

def reserved(members)
  members.run do |queue|
    queue.tubes.watch!('lasting')
    queue.tubes.reserve(2)
  end
rescue Beaneater::TimedOutError
  retry
end

def deleted?(members, job)
  members.run { |queue| queue.connection.transmit("delete #{job.id}") }
rescue Beaneater::NotFoundError
  # The connection that held it is lost, or it was deleted and the reply was lost.
  false
end

members = Members.new(ARGV.fetch(1).split(','))
{ 'put' => method(:put), 'work' => method(:work) }.fetch(ARGV.fetch(0)).call(members)
