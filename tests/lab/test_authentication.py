"""Passwords, and the rate limit of wrong attempts."""

import asyncio
import contextlib
import time

from gluon_nst.lab.web.authentication import Authenticator, TooManyAttempts

import pytest


class Clock:
    """A clock that advances when the code sleeps."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds


def attempt(authenticator, clock, attempts, interval=0.1):
    """Return the results of attempts (password, address, session, known) at an `interval` in seconds, or "slow"."""
    results = []
    for each in attempts:
        try:
            results.append(asyncio.run(authenticator.check(*each)))
        except TooManyAttempts as error:
            assert error.seconds >= 1
            results.append("slow")
        clock.time += interval
    return results


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def authenticator(clock):
    return Authenticator("right", now=clock, sleep=clock.sleep)


def test_wrong_attempts_are_delayed_more_and_more_after_the_first_few(authenticator, clock):
    guesser = [("wrong", "10.0.0.7", "a")]
    results = attempt(authenticator, clock, 100 * guesser)
    assert results.count(False) <= 9  # in ten seconds
    assert attempt(authenticator, clock, [("right", "10.0.0.7", "a")]) == ["slow"]  # not even checked
    # A classmate behind the same router can sign in, and so can another address, and a known session.
    others = [("right", "10.0.0.7", "b"), ("right", "10.0.0.8", "a"), ("right", "10.0.0.7", "a", True)]
    assert attempt(authenticator, clock, others) == [True, True, True]
    clock.time += 61
    assert attempt(authenticator, clock, [("right", "10.0.0.7", "a"), *guesser]) == [True, False]


def test_an_attacker_without_cookies_is_slowed_and_others_still_sign_in(authenticator, clock):
    begun = clock.time
    without_session = 20 * [("wrong", "10.0.0.7", "")]  # counts as one session
    assert set(attempt(authenticator, clock, without_session)) == {False, "slow"}
    new_sessions = [("wrong", "10.0.0.7", f"made up {number}") for number in range(500)]
    results = attempt(authenticator, clock, new_sessions, interval=0)
    assert results.count(False) <= 35 + (clock.time - begun) / 2
    before = clock.time
    others = [("right", "10.0.0.7", "a new page"), ("right", "10.0.0.8", "b")]
    assert attempt(authenticator, clock, others) == [True, True]
    assert clock.time - before < 5


def test_a_session_of_some_seconds_has_priority_over_new_sessions():
    fast = 500  # times as fast as a clock

    async def sleep(seconds):
        await asyncio.sleep(seconds / fast)

    async def sign_in():
        authenticator = Authenticator("right", now=lambda: time.monotonic() * fast, sleep=sleep)

        async def guess(number):
            for each in range(50):
                with contextlib.suppress(TooManyAttempts):
                    await authenticator.check("wrong", "10.0.0.7", f"{number} {each}")

        guessers = [asyncio.ensure_future(guess(number)) for number in range(40)]
        await sleep(10)
        begun = time.monotonic()
        assert await authenticator.check("right", "10.0.0.7", "a classmate", age=8.0)
        took = (time.monotonic() - begun) * fast
        assert not await authenticator.check("wrong", "10.0.0.7", "another one", age=20.0)
        assert await authenticator.check("right", "10.0.0.7", "another one", age=50.0)  # after a typing error
        for each in guessers:
            each.cancel()
        return took

    assert asyncio.run(sign_in()) < 10


def test_a_session_has_one_attempt_at_a_time():
    async def sign_in():
        authenticator = Authenticator("right")
        for number in range(30):
            await authenticator.check("wrong", "10.0.0.7", f"{number}")
        await authenticator.check("wrong", "10.0.0.7", "a")
        first = asyncio.ensure_future(authenticator.check("wrong", "10.0.0.7", "b"))
        await asyncio.sleep(0)
        with pytest.raises(TooManyAttempts):
            await authenticator.check("right", "10.0.0.7", "b")
        assert await authenticator.check("right", "10.0.0.7", "b", known=True)
        first.cancel()

    asyncio.run(sign_in())


def test_wrong_attempts_are_forgotten(authenticator, clock):
    attempt(authenticator, clock, 6 * [("wrong", "10.0.0.7", "a")])
    clock.time += 901
    assert attempt(authenticator, clock, [(word, "10.0.0.7", "a") for word in ("wrong", "wröng")]) == [False, False]


def test_without_a_password_everybody_is_accepted_and_a_random_token_is_not_limited(clock):
    assert attempt(Authenticator(None), clock, [("", "anywhere", "")]) == [True]
    assert not Authenticator(None).requires_password
    assert attempt(Authenticator("right", guessable=False), clock, 99 * [("wrong", "a", "")]) == 99 * [False]
