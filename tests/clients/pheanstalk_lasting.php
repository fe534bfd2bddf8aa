<?php
// A producer or a worker that goes on until it is told, and knows nothing of losses: any error ends it.
//
// Usage: pheanstalk_lasting.php put|work PORT
//
// `put` puts each line of its input as a job, and repeats it when the server has it. `work` says of
// each job that it holds it, deletes it, and says so; it ends with the job `end`.

require_once 'Pheanstalk/autoload.php';

use Pheanstalk\Contract\SocketFactoryInterface;
use Pheanstalk\Contract\SocketInterface;
use Pheanstalk\Pheanstalk;
use Pheanstalk\SocketFactory;

// By itself pheanstalk connects again after an error, and nobody would hear of it.
class OneSocket implements SocketFactoryInterface
{
    private bool $isMade = false;

    public function create(): SocketInterface
    {
        if ($this->isMade) {
            throw new Exception('the connection was lost');
        }
        $this->isMade = true;
        return (new SocketFactory('127.0.0.1', (int) $GLOBALS['argv'][2]))->create();
    }
}

function put(Pheanstalk $queue): void
{
    $queue->useTube('lasting');
    while (($line = fgets(STDIN)) !== false) {
        $number = trim($line);
        $queue->put($number);
        echo "$number\n";
    }
}

function work(Pheanstalk $queue): void
{
    $queue->watchOnly('lasting');
    while (($job = $queue->reserve())->getData() !== 'end') {
        echo "held {$job->getData()} {$job->getId()}\n";
        $queue->delete($job);
        echo "deleted {$job->getData()} {$job->getId()}\n";
    }
    $queue->delete($job);
}

['put' => put(...), 'work' => work(...)][$argv[1]](Pheanstalk::createWithFactory(new OneSocket()));
