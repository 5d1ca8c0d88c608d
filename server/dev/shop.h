/* shop.h - the sample shop of `segmentd dev`: schema shop with the tables users and orders, the
 * view user_features over both, and the table truth with the group that each user was drawn from.
 * The same rows every time. */
#ifndef SERVER_DEV_SHOP_H
#define SERVER_DEV_SHOP_H

#include "db/db.h"

#define SHOP_USERS  10000
#define SHOP_GROUPS 3

/* Makes and fills the schema in one transaction, unless it is there. DB_ONE: made; DB_NONE: it was
 * there. db without a statement timeout. */
enum db_status shop_load(struct db *db);

#endif
