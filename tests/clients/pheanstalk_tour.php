<?php
// A tour of a server with pheanstalk: every method of its client, binary bodies included.
//
// Usage: pheanstalk_tour.php PORT [MEMBERS]

require_once 'Pheanstalk/autoload.php';

use Pheanstalk\Exception\ServerException;
use Pheanstalk\Exception\DeadlineSoonException;
use Pheanstalk\Exception\JobTooBigException;
use Pheanstalk\JobId;
use Pheanstalk\Pheanstalk;

function same($expected, $found): void
{
    if ($expected !== $found) {
        throw new Exception(var_export($found, true) . ' instead of ' . var_export($expected, true));
    }
}

function throws(string $class, Closure $call): void
{
    try {
        $call();
    } catch (Throwable $thrown) {
        if ($thrown instanceof $class) {
            return;
        }
        throw $thrown;
    }
    throw new Exception("no $class was thrown");
}

// Since 1.13 names are quoted, which pheanstalk passes on as it is.
function name(string $value): string
{
    return trim($value, '"');
}

function connect(): Pheanstalk
{
    return Pheanstalk::create('127.0.0.1', (int) $GLOBALS['argv'][1]);
}

function bodiesGoRound(): void
{
    $queue = connect();
    $everyByte = implode('', array_map('chr', range(0, 255)));
    foreach (['', "\r\n", "\0", 'grüße', $everyByte, str_repeat($everyByte, 255)] as $body) {
        $put = $queue->put($body);
        same($body, $queue->peek($put)->getData());
        $job = $queue->reserve();
        same($put->getId(), $job->getId());
        same($body, $job->getData());
        $queue->touch($job);
        $queue->delete($job);
    }
    throws(JobTooBigException::class, fn() => $queue->put(str_repeat('x', 65536)));
    $queue->delete($queue->put(str_repeat('x', 65535)));
    throws(ServerException::class, fn() => $queue->delete(new JobId(999999)));
    throws(ServerException::class, fn() => $queue->peek(new JobId(999999)));
    same(null, $queue->reserveWithTimeout(0));
}

function aJobHasItsLife(): void
{
    $queue = connect();
    $queue->useTube('life');
    $queue->watchOnly('life');
    same(null, $queue->peekReady());
    same(null, $queue->peekDelayed());
    same(null, $queue->peekBuried());
    $first = $queue->put('first', 7, 1000, 60);
    $second = $queue->put('second', 3, 0, 60);
    same('first', $queue->peekDelayed()->getData());
    same('second', $queue->peekReady()->getData());
    $job = $queue->reserve();
    same($second->getId(), $job->getId());
    $stats = $queue->statsJob($job);
    same('reserved', $stats['state']);
    same('life', name($stats['tube']));
    same('3', $stats['pri']);
    $queue->bury($job, 9);
    same('second', $queue->peekBuried()->getData());
    same(1, $queue->kick(10));
    $queue->kickJob($first);
    $job = $queue->reserve();
    same($first->getId(), $job->getId());
    $queue->release($job, 1, 1000);
    same('delayed', $queue->statsJob($first)['state']);
    $stats = $queue->statsTube('life');
    same('life', name($stats['name']));
    same('1', $stats['current-jobs-ready']);
    same('1', $stats['current-jobs-delayed']);
    same('2', $stats['total-jobs']);
    $queue->delete($first);
    $queue->delete($second);
}

function tubesAreUsedWatchedAndPaused(): void
{
    $queue = connect();
    same('default', $queue->listTubeUsed(true));
    same(['default'], $queue->listTubesWatched(true));
    $queue->useTube('one');
    $queue->watch('two')->ignore('default');
    same('one', $queue->listTubeUsed(true));
    same(['two'], $queue->listTubesWatched(true));
    same([], array_diff(['default', 'one', 'two'], $queue->listTubes()));
    $queue->useTube('two');
    $queue->put('late');
    $queue->pauseTube('two', 1000);
    same(null, $queue->reserveWithTimeout(0));
    $queue->resumeTube('two');
    $queue->delete($queue->reserveWithTimeout(10));
    throws(ServerException::class, fn() => $queue->pauseTube('nowhere', 1));
}

function deadlinesAreAnnounced(): void
{
    $queue = connect();
    $queue->put('hurry', 0, 0, 1);
    $job = $queue->reserve();
    throws(DeadlineSoonException::class, fn() => $queue->reserveWithTimeout(10));
    $queue->delete($job);
}

function theServerTellsOfItself(): void
{
    $stats = connect()->stats();
    same('0', $stats['current-jobs-ready']);
    // How many members are behind the port: each counts for itself what it refuses.
    $members = (int) ($GLOBALS['argv'][2] ?? 1);
    $refused = (int) $stats['cmd-put'] - (int) $stats['total-jobs'];
    same(true, $refused === 1 || ($members > 1 && $refused === 0));
    same('false', $stats['draining']);
}

bodiesGoRound();
aJobHasItsLife();
tubesAreUsedWatchedAndPaused();
deadlinesAreAnnounced();
theServerTellsOfItself();
