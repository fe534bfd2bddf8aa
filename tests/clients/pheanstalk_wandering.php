<?php
// A producer or a worker that goes on at another member by the recipe for pheanstalk.
//
// Usage: pheanstalk_wandering.php put|work ADDRESS,..
//
// `put` puts each line of its input as a job, and repeats it when a member has it. `work` says of each
// job that it holds it, deletes it, and says so if the job was still there; it ends with the job `end`.

require_once 'Pheanstalk/autoload.php';
require_once __DIR__ . '/recipes/pheanstalk_members.php';

use Pheanstalk\Exception\ServerException;
use Pheanstalk\Job;

// What PHP has to say of broken connections is not for those who read the numbers.
ini_set('display_errors', 'stderr');

function put(Members $members): void
{
    while (($line = fgets(STDIN)) !== false) {
        $number = trim($line);
        $members->put($number, $number, ttr: 5);
        echo "$number\n";
    }
}

function work(Members $members): void
{
    while (($job = reserved($members))->getData() !== 'end') {
        echo "held {$job->getData()} {$job->getId()}\n";
        if (isDeleted($members, $job)) {
            echo "deleted {$job->getData()} {$job->getId()}\n";
        }
    }
    $members->run(fn($queue) => $queue->delete($job));
}

function reserved(Members $members): Job
{
    do {
        $job = $members->run(fn($queue) => $queue->reserveWithTimeout(2));
    } while ($job === null);
    return $job;
}

function isDeleted(Members $members, Job $job): bool
{
    try {
        $members->run(fn($queue) => $queue->delete($job));
        return true;
    } catch (ServerException) {
        // The connection that held it is lost, or it was deleted and the reply was lost.
        return false;
    }
}

$members = new Members(explode(',', $argv[2]), 'lasting', 'lasting');
['put' => put(...), 'work' => work(...)][$argv[1]]($members);
