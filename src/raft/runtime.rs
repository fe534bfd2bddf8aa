//! The async runtime as openraft sees it: tokio, with one difference.
//!
//! openraft sleeps for a microsecond between two reports of the log to gather them. tokio's timers
//! count milliseconds, so that sleep would cost a lone client a whole one. A sleep that is shorter
//! than a timer can measure is over at once.

use std::future::Future;
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use openraft::async_runtime::AsyncRuntime;
use openraft::{Instant, TokioRuntime};

/// Sleeps shorter than this are not worth a timer.
const SLEEP_MIN: Duration = Duration::from_micros(100);

type Inner<T> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;

/// tokio without sleeps that are too short for its timers.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = Inner<T>;
    type Sleep = Either<Ready<()>, <TokioRuntime as AsyncRuntime>::Sleep>;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        match duration < SLEEP_MIN {
            true => Either::Left(ready(())),
            false => Either::Right(TokioRuntime::sleep(duration)),
        }
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        match deadline < Self::Instant::now() + SLEEP_MIN {
            true => Either::Left(ready(())),
            false => Either::Right(TokioRuntime::sleep_until(deadline)),
        }
    }

    fn timeout<R, F: Future<Output = R> + Send>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
