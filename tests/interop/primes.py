"""The groups ffdhe2048 and ffdhe3072 from the formula of RFC 7919, appendix A, and tests of them."""

import random

# RFC 7919, appendices A.1 and A.2: bits of p -> X, the smallest number that makes p a safe prime.
RFC7919_X = {2048: 560316, 3072: 2625351}


def floor_e(shift):
    """floor(2^shift * e), from e = sum of 1/k! with 64 guard bits."""
    guard = shift + 64
    term, total, k = 1 << guard, 0, 1
    while term:
        total += term
        term //= k
        k += 1
    # Every term is rounded down by less than one unit of the last guard bit.
    assert (total >> 64) == ((total + k) >> 64), "more guard bits are needed"
    return total >> 64


def ffdhe(bits):
    """p of RFC 7919: 2^b - 2^(b-64) + (floor(2^(b-130) * e) + X) * 2^64 - 1."""
    return (1 << bits) - (1 << (bits - 64)) + ((floor_e(bits - 130) + RFC7919_X[bits]) << 64) - 1


def is_probable_prime(n, rounds=32):
    """Miller-Rabin with random bases: a composite passes with probability below 4^-rounds."""
    for small in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if n % small == 0:
            return n == small
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(rounds):
        x = pow(random.randrange(2, n - 1), odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def jacobi(a, n):
    """The Jacobi symbol (a/n) for odd n > 0."""
    a, sign = a % n, 1
    while a:
        while a % 2 == 0:
            a //= 2
            if n % 8 in (3, 5):
                sign = -sign
        a, n = n, a
        if a % 4 == 3 and n % 4 == 3:
            sign = -sign
        a %= n
    return sign if n == 1 else 0


def check():
    """Regenerates both groups and proves what the protocol relies on; returns the lines of a report."""
    lines = []
    for bits in RFC7919_X:
        p = ffdhe(bits)
        assert p.bit_length() == bits
        assert is_probable_prime(p) and is_probable_prime((p - 1) // 2), f"ffdhe{bits} is no safe prime"
        assert jacobi(2, p) == 1, "g = 2 generates the subgroup of order (p-1)/2"
        lines.append(f"ffdhe{bits}: p and (p-1)/2 are prime, (2/p) = 1, p = {p:x}")
    return lines


if __name__ == "__main__":
    print("\n".join(check()))
