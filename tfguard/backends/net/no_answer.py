"""The error of a request without an answer: who only has to know it needs no HTTP, and its import takes 10 ms."""


class NoAnswer(Exception):
    """The request may have arrived or not: no connection, no answer in time, or half of one."""
