# A producer or a worker that goes on until it is told, and knows nothing of losses: any error ends it.
#
# Usage: beaneater_lasting.rb put|work PORT
#
# `put` puts each line of its input as a job, and repeats it when the server has it. `work` says of
# each job that it holds it, deletes it, and says so; it ends with the job `end`.

require 'beaneater'

$stdout.sync = true

def put(queue)
  tube = queue.tubes['lasting']
  while (number = $stdin.gets&.strip)
    tube.put(number.dup)
    puts number
  end
end

def work(queue)
  queue.tubes.watch!('lasting')
  until (job = queue.tubes.reserve).body == 'end'
    puts "held #{job.body} #{job.id}"
    job.delete
    puts "deleted #{job.body} #{job.id}"
  end
  job.delete
end

queue = Beaneater.new("127.0.0.1:#{ARGV.fetch(1)}")
socket = queue.connection.connection
{ 'put' => method(:put), 'work' => method(:work) }.fetch(ARGV.fetch(0)).call(queue)
# By itself beaneater connects again after an error, and nobody would hear of it.
raise 'the connection was lost' unless queue.connection.connection.equal?(socket)
