/* test_lingering.c - sockets that were answered without being read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "http/lingering.h"

#define MS   INT64_C(1000000)
#define TEND (LINGERING_TEND_MS * MS)

static struct lingering lingering;

static int setup(void **state)
{
    (void)state;
    lingering = (struct lingering){ .n_max = 3, .tended_ns = -TEND };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lingering_end(&lingering);
    return 0;
}

/* (client, server) of a connection over the loopback. */
static void connect_pair(int ret[2])
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(here);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&here, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &len), 0);
    ret[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(ret[0] >= 0);
    assert_int_equal(connect(ret[0], (struct sockaddr *)&here, len), 0);
    ret[1] = accept(listener, NULL, NULL);
    assert_true(ret[1] >= 0);
    close(listener);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static void an_answer_arrives_whatever_the_client_had_sent(void **state)
{
    (void)state;
    static char request[100000];
    int pair[2];
    connect_pair(pair);
    assert_int_equal(send(pair[0], request, sizeof(request), 0), sizeof(request));
    assert_int_equal(send(pair[1], "busy", 4, 0), 4);
    lingering_add(&lingering, pair[1], 0);
    assert_int_equal(send(pair[0], request, sizeof(request), 0), sizeof(request));
    assert_int_equal(lingering_tend(&lingering, LINGERING_MS * MS), -1);
    char answer[8];
    assert_int_equal(recv(pair[0], answer, sizeof(answer), 0), 4);
    assert_memory_equal(answer, "busy", 4);
    assert_int_equal(recv(pair[0], answer, sizeof(answer), 0), 0); /* an end, no reset */
    close(pair[0]);
}

static void each_stays_for_its_time(void **state)
{
    (void)state;
    int a[2], b[2];
    connect_pair(a);
    connect_pair(b);
    assert_int_equal(lingering_tend(&lingering, 0), -1);
    lingering_add(&lingering, a[1], 0);
    lingering_add(&lingering, b[1], 100 * MS);
    assert_in_range(lingering_tend(&lingering, TEND), 1, LINGERING_TEND_MS);
    assert_in_range(lingering_tend(&lingering, LINGERING_MS * MS - TEND), 1, LINGERING_TEND_MS);
    assert_true(is_open(a[1]));
    assert_in_range(lingering_tend(&lingering, LINGERING_MS * MS), 1, LINGERING_TEND_MS);
    assert_false(is_open(a[1]));
    assert_true(is_open(b[1]));
    assert_int_equal(lingering_tend(&lingering, (LINGERING_MS + 100) * MS), -1);
    assert_false(is_open(b[1]));
    close(a[0]);
    close(b[0]);
}

static void what_its_client_has_ended_goes_at_once(void **state)
{
    (void)state;
    int a[2], b[2];
    connect_pair(a);
    connect_pair(b);
    lingering_add(&lingering, a[1], 0);
    lingering_add(&lingering, b[1], 0);
    close(b[0]);
    assert_in_range(lingering_tend(&lingering, TEND), 1, LINGERING_TEND_MS);
    assert_false(is_open(b[1]));
    assert_true(is_open(a[1]));
    close(a[0]);
    assert_in_range(lingering_tend(&lingering, TEND + 1), 1, LINGERING_TEND_MS);
    assert_true(is_open(a[1])); /* it was looked at just now */
    assert_int_equal(lingering_tend(&lingering, 2 * TEND), -1);
    assert_false(is_open(a[1]));
}

static void the_oldest_makes_room(void **state)
{
    (void)state;
    int pairs[5][2];
    for (size_t i = 0; i < 5; i++)
        connect_pair(pairs[i]);
    for (size_t i = 0; i < 5; i++)
        lingering_add(&lingering, pairs[i][1], (int64_t)i);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(is_open(pairs[i][1]), i >= 2);
    lingering_end(&lingering);
    for (size_t i = 0; i < 5; i++) {
        assert_false(is_open(pairs[i][1]));
        close(pairs[i][0]);
    }
}

/* More than a kernel takes at once, by a client that looks for the answer only when all is sent. */
static void a_long_request_is_thrown_away_as_it_comes(void **state)
{
    (void)state;
    static char part[1 << 20];
    int pair[2];
    connect_pair(pair);
    assert_int_equal(send(pair[1], "busy", 4, 0), 4);
    lingering_add(&lingering, pair[1], 0);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    for (size_t left = 64; left > 0;) {
        ssize_t n = send(pair[0], part, sizeof(part), MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        if (n == (ssize_t)sizeof(part)) left--;
        lingering.tended_ns = 0; /* as if it were time */
        assert_int_not_equal(lingering_tend(&lingering, TEND), -1);
    }
    char answer[8];
    assert_int_equal(recv(pair[0], answer, sizeof(answer), 0), 4);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_arrives_whatever_the_client_had_sent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_long_request_is_thrown_away_as_it_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(each_stays_for_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_its_client_has_ended_goes_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_makes_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
