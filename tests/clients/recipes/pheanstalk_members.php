<?php
// pheanstalk over several members: goes on at the next one when the connection to one is lost.
//
// What was held is not held any more then, and somebody gets the job again: workers have to bear that.
// A put is made again, and its key keeps it from being a second job.

use Pheanstalk\Command\AbstractCommand;
use Pheanstalk\Connection;
use Pheanstalk\Contract\ResponseParserInterface;
use Pheanstalk\Contract\SocketFactoryInterface;
use Pheanstalk\Contract\SocketInterface;
use Pheanstalk\Exception\ConnectionException;
use Pheanstalk\Exception\SocketException;
use Pheanstalk\Pheanstalk;
use Pheanstalk\Response\ArrayResponse;
use Pheanstalk\SocketFactory;

class Members implements SocketFactoryInterface
{
    private const CONNECT_SECONDS = 1;
    // Longer than any reserve waits. A frozen member is not noticed before.
    private const READ_SECONDS = 5;
    // Between two members, when none takes connections.
    private const PAUSE_MICROSECONDS = 100_000;

    private Connection $connection;
    private bool $isConnected = false;
    private ?Pheanstalk $queue = null;

    // Addresses are HOST:PORT.
    public function __construct(private array $addresses, private string $use, private string $watch)
    {
        ini_set('default_socket_timeout', self::READ_SECONDS);
    }

    // What $work gives for a client: called again with others until a member has answered, so it should
    // do nothing but talk to its client.
    public function run(Closure $work)
    {
        while (true) {
            try {
                $this->queue ??= $this->connected();
                return $work($this->queue);
            } catch (ConnectionException | SocketException) {
                $this->leave();
            }
        }
    }

    public function put(string $key, string $data, int ...$options)
    {
        return $this->run(function (Pheanstalk $queue) use ($key, $data, $options) {
            $this->connection->dispatchCommand(new KeyCommand($key));
            return $queue->put($data, ...$options);
        });
    }

    // For pheanstalk, which by itself connects again after an error and repeats what it sent, a put
    // without its key. So there is one connection for each client.
    public function create(): SocketInterface
    {
        if ($this->isConnected) {
            throw new ConnectionException(0, 'the connection was lost');
        }
        $this->isConnected = true;
        [$host, $port] = explode(':', $this->addresses[0]);
        // The other kind of socket has no time-out for reading.
        return (new SocketFactory($host, (int) $port, self::CONNECT_SECONDS, SocketFactory::STREAM))->create();
    }

    private function connected(): Pheanstalk
    {
        $this->isConnected = false;
        $this->connection = new Connection($this);
        return (new Pheanstalk($this->connection))->useTube($this->use)->watchOnly($this->watch);
    }

    private function leave(): void
    {
        $this->connection->disconnect();
        $this->queue = null;
        $this->addresses[] = array_shift($this->addresses);
        usleep(self::PAUSE_MICROSECONDS);
    }
}

class KeyCommand extends AbstractCommand implements ResponseParserInterface
{
    public function __construct(private string $key)
    {
    }

    public function getCommandLine(): string
    {
        return "key $this->key";
    }

    public function parseResponse(string $line, ?string $data): ArrayResponse
    {
        return $line === 'KEYED' ? $this->createResponse($line) : throw new Exception($line);
    }
}
