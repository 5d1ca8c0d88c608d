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

#define MS INT64_C(1000000)

static struct lingering lingering;

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
    assert_int_equal(bind(listener, (struct sockaddr *)&here, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &len), 0);
    ret[0] = socket(AF_INET, SOCK_STREAM, 0);
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
    assert_int_equal(lingering_tend(&lingering, 0), LINGERING_MS + 1);
    assert_int_equal(lingering_tend(&lingering, LINGERING_MS * MS - 1), 1);
    assert_true(is_open(a[1]));
    assert_int_equal(lingering_tend(&lingering, LINGERING_MS * MS), 101);
    assert_false(is_open(a[1]));
    assert_true(is_open(b[1]));
    assert_int_equal(lingering_tend(&lingering, (LINGERING_MS + 100) * MS), -1);
    assert_false(is_open(b[1]));
    close(a[0]);
    close(b[0]);
}

static void the_oldest_makes_room(void **state)
{
    (void)state;
    int clients[LINGERING_MAX + 2], servers[LINGERING_MAX + 2];
    for (size_t i = 0; i < LINGERING_MAX + 2; i++) {
        int pair[2];
        connect_pair(pair);
        clients[i] = pair[0];
        servers[i] = pair[1];
    }
    for (size_t i = 0; i < LINGERING_MAX + 2; i++)
        lingering_add(&lingering, servers[i], (int64_t)i);
    char byte;
    for (size_t i = 0; i < 2; i++)
        assert_false(is_open(servers[i]));
    for (size_t i = 2; i < LINGERING_MAX + 2; i++)
        assert_true(is_open(servers[i]));
    lingering_end(&lingering);
    for (size_t i = 0; i < LINGERING_MAX + 2; i++) {
        assert_false(is_open(servers[i]));
        assert_int_equal(recv(clients[i], &byte, 1, 0), 0);
        close(clients[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_answer_arrives_whatever_the_client_had_sent, teardown),
        cmocka_unit_test_teardown(each_stays_for_its_time, teardown),
        cmocka_unit_test_teardown(the_oldest_makes_room, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
